"""`/livez` and `/readyz`, for Kubernetes."""

import asyncio
from collections.abc import Callable

REQUEST_TIMEOUT = 5.0


async def serve_health(host: str, port: int, problem: Callable[[], str | None]) -> asyncio.Server:
    """`problem` returns why the service is not ready, or None."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                request = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
            status, text = _answer(request[1] if len(request) > 1 else b"", problem)
            body = text.encode()
            head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}"
            writer.write(f"{head}\r\nconnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(respond, host, port)


def _answer(path: bytes, problem: Callable[[], str | None]) -> tuple[str, str]:
    if path == b"/livez":
        return "200 OK", "ok\n"
    if path == b"/readyz":
        reason = problem()
        return ("200 OK", "ok\n") if reason is None else ("503 Service Unavailable", f"{reason}\n")
    return "404 Not Found", "only /livez and /readyz\n"
