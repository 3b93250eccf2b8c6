"""Plain enumeration of all policies: each set of exits on the device, threshold, and placement of the rest's layers."""

from itertools import combinations, product

import networkx as nx


def placement_latencies(graph, device_s, server_s, link):
    """Return the latency of each way to put the layers of a model on two machines that asks the server once."""
    layers = list(graph)
    reachable = {one: nx.descendants(graph, one) for one in layers}
    found = []
    for machines in product((0, 1), repeat=len(layers)):
        where = dict(zip(layers, machines, strict=True))
        comes_back = any(
            where[a] == 1 and where[b] == 0 and where[c] == 1
            for a in layers
            for b in reachable[a]
            for c in reachable[b]
        )
        if comes_back:
            continue
        total_s = sum(
            (device_s, server_s)[where[layer]]
            if isinstance(device_s, float)
            else (device_s[layer], server_s[layer])[where[layer]]
            for layer in layers
        )
        for tensor in graph.graph["tensors"].values():
            made_on = 0 if tensor.producer is None else where[tensor.producer]
            wanted = {where[layer] for layer in layers if tensor.name in graph.nodes[layer]["layer"].inputs}
            if tensor.name in graph.graph["outputs"]:
                wanted.add(0)
            if 1 in wanted - {made_on}:
                total_s += tensor.size_bytes * 8 / link.uplink_bits_per_s
            if 0 in wanted - {made_on}:
                total_s += tensor.size_bytes * 8 / link.downlink_bits_per_s
        if any(machines):
            total_s += link.rtt_s
        found.append(total_s)
    return found


def policies(names, confidences, scores, head_s, rest_latencies):
    """Yield (expected, slowest, accuracy, number of exits on the device) of every policy.

    Parameters
    ----------
    names : list of str
    confidences, scores : dict of str to list of float
    head_s : callable
        Of the exits on the device and the final one: the latency of each head.
    rest_latencies : callable
        Likewise: the latencies of all placements of the rest.
    """
    n_inputs = len(next(iter(scores.values())))
    for number, final in enumerate(names):
        for count in range(number + 1):
            for used in combinations(names[:number], count):
                stops = [sum(head_s(used, final)[: k + 1]) for k in range(count)]
                rests = rest_latencies(used, final)
                for thresholds in product(*(sorted(set(confidences[name])) for name in used)):
                    stopped, right = [0] * (count + 1), 0.0
                    for one in range(n_inputs):
                        at = next((k for k in range(count) if confidences[used[k]][one] >= thresholds[k]), count)
                        stopped[at] += 1
                        right += scores[(*used, final)[at]][one]
                    shares = [one / n_inputs for one in stopped]
                    for rest_s in rests:
                        slowest_s = (stops[-1] if stops else 0.0) + rest_s
                        expected_s = sum(a * b for a, b in zip(shares, [*stops, slowest_s], strict=True))
                        yield expected_s, slowest_s, right / n_inputs, count


def undominated(found):
    """Return the (expected, accuracy) of those that no other beats, the fastest first."""
    front = []
    for expected_s, accuracy in sorted({(one[0], one[2]) for one in found}, key=lambda one: (one[0], -one[1])):
        if not front or accuracy > front[-1][1]:
            front.append((expected_s, accuracy))
    return front
