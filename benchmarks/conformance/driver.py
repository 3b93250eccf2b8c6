"""Runs where tritonclient is installed, without anything of ours: drives a server, parses configurations, takes times.

One JSON object a line comes in, one goes out: ``{"do": "check" | "parse" | "time", ...}``.
"""

import json
import sys
import time
from typing import Any

import numpy as np


def check(url: str, models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask a server everything that we promise, of models that come with inputs and the outputs they should have."""
    import tritonclient.http as http  # type: ignore[import-not-found]

    found = []

    def note(what: str, ok: Any) -> None:
        found.append({"what": what, "ok": bool(ok)})

    client = http.InferenceServerClient(url)
    note("live and ready", client.is_server_live() and client.is_server_ready())
    metadata = client.get_server_metadata()
    note("metadata of the server, with the binary extension", "binary_tensor_data" in metadata["extensions"])
    index = {one["name"] for one in client.get_model_repository_index()}
    for model in models:
        name = model["name"]
        content = np.load(model["file"], allow_pickle=False)
        inputs = {one["name"]: content[f"in{n}"] for n, one in enumerate(model["inputs"])}
        wanted = {one["name"]: content[f"out{n}"] for n, one in enumerate(model["outputs"])}
        kinds = {one["name"]: one["datatype"] for one in (*model["inputs"], *model["outputs"])}
        note(f"{model['label']}: ready, and in the index", client.is_model_ready(name, "1") and name in index)
        told = client.get_model_metadata(name)
        same = all(
            {(one["name"], one["datatype"], tuple(one["shape"])) for one in told[side]}
            == {(one["name"], one["datatype"], tuple(one["shape"])) for one in model[side]}
            for side in ("inputs", "outputs")
        )
        note(f"{model['label']}: metadata", same)
        for way in ("binary", "JSON", "binary in, JSON out", "JSON in, binary out"):
            binary_in, binary_out = way.startswith("binary"), way in ("binary", "JSON in, binary out")
            asked = [tensor(http, one, inputs[one], kinds[one], binary_in) for one in inputs]
            outs = [http.InferRequestedOutput(one, binary_data=binary_out or kinds[one] == "FP16") for one in wanted]
            answer = client.infer(name, asked, outputs=outs, request_id="7")
            same = all(equal(answer.as_numpy(one), wanted[one]) for one in wanted)
            note(f"{model['label']}: equal outputs, {way}", same and answer.get_response()["id"] == "7")
        plain = [tensor(http, one, inputs[one], kinds[one], True) for one in inputs]
        if "FP16" not in kinds.values():
            answer = client.infer(name, plain)
            note(
                f"{model['label']}: all outputs if none is named",
                all(equal(answer.as_numpy(o), wanted[o]) for o in wanted),
            )
        answer = client.async_infer(name, plain).get_result()
        note(f"{model['label']}: asynchronously", all(equal(answer.as_numpy(one), wanted[one]) for one in wanted))
        (told,) = client.get_inference_statistics(name)["model_stats"]
        note(f"{model['label']}: statistics", told["inference_stats"]["success"]["count"] >= 5)
        first = next(iter(inputs))
        note(
            f"{model['label']}: an unknown output is refused",
            refused(http, client, name, plain, outputs=[http.InferRequestedOutput("nothing")]),
        )
        wrong = tensor(http, first, inputs[first].reshape(1, *inputs[first].shape), kinds[first], True)
        note(f"{model['label']}: a wrong shape is refused", refused(http, client, name, [wrong, *plain[1:]]))
    note("an unknown model is refused", refused(http, client, "nothing", []))
    note("and the server lives on", client.is_server_live())
    client.close()
    return found


def refused(http: Any, client: Any, name: str, inputs: list[Any], **more: Any) -> bool:
    """Say whether the server refuses a request with a reason."""
    try:
        client.infer(name, inputs, **more)
    except http.InferenceServerException as error:
        return bool(error.message())
    return False


def tensor(http: Any, name: str, array: Any, datatype: str, binary: bool) -> Any:
    """Make an input; FP16 has no JSON."""
    if datatype == "BYTES":
        array = array.astype(np.object_)
    made = http.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary or datatype == "FP16")
    return made


def equal(found: Any, wanted: Any) -> bool:
    """Compare exactly; strings come as bytes or as text."""
    if found is None:
        return False
    if wanted.dtype.kind == "U":
        texts = [one.decode("utf-8") if isinstance(one, bytes) else str(one) for one in found.ravel()]
        return found.shape == wanted.shape and texts == [str(one) for one in wanted.ravel()]
    return bool(found.dtype == wanted.dtype and np.array_equal(found, wanted))


def parse(files: list[str]) -> list[dict[str, Any]]:
    """Parse configurations as Triton's message ModelConfig."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2  # type: ignore[import-not-found]

    parsed = []
    for file in files:
        with open(file, encoding="utf-8") as stream:
            config = text_format.Parse(stream.read(), model_config_pb2.ModelConfig())
        described: dict[str, Any] = {
            side: [
                [one.name, model_config_pb2.DataType.Name(one.data_type), list(one.dims)]
                for one in getattr(config, side)
            ]
            for side in ("input", "output")
        }
        steps = [[one.model_name, dict(one.input_map), dict(one.output_map)] for one in config.ensemble_scheduling.step]
        described |= {"name": config.name, "backend": config.backend or config.platform, "steps": steps}
        described["parameters"] = {key: one.string_value for key, one in config.parameters.items()}
        parsed.append(described)
    return parsed


_CLIENTS: dict[str, Any] = {}


def take_times(url: str, model: str, given: str, wanted: str, size: int, count: int) -> list[float]:
    """Return the seconds of so many inferences on so many bytes."""
    import tritonclient.http as http

    client = _CLIENTS.get(url)
    if client is None:
        client = _CLIENTS[url] = http.InferenceServerClient(url)
    array = np.random.default_rng(0).standard_normal(size // 4).astype(np.float32)
    times = []
    for _ in range(count):
        start = time.perf_counter()
        asked = http.InferInput(given, [array.size], "FP32")
        asked.set_data_from_numpy(array)
        answer = client.infer(model, [asked], outputs=[http.InferRequestedOutput(wanted)])
        value = answer.as_numpy(wanted)
        times.append(time.perf_counter() - start)
        if value.size != array.size:
            raise RuntimeError("the answer has another size")
    return times


if __name__ == "__main__":
    for line in sys.stdin:
        request = json.loads(line)
        actions: dict[str, Any] = {"check": check, "parse": parse, "time": take_times}
        print(json.dumps(actions[request.pop("do")](**request)), flush=True)
