"""Takes a length in eight bytes and as many bytes, sends as many back; one connection at a time. Prints its port."""

import socket

if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        buffer = memoryview(bytearray(1 << 24))
        while True:
            end, _ = listener.accept()
            with end:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while head := end.recv(8, socket.MSG_WAITALL):
                    size = int.from_bytes(head, "big")
                    place = 0
                    while place < size:
                        place += end.recv_into(buffer[place:size])
                    end.sendall(buffer[:size])
