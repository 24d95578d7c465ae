"""A real RTSP server whose pictures say when they were drawn. Runs under the system's Python.

    /usr/bin/python3 rtsp_server.py PORT [--fps 30] [--belt] [--user NAME --password WORD]

Each picture is 320x240, H.264: the upper half holds the 32 bits of the monotonic clock in
milliseconds, as white and black blocks; the lower half is red on the left and blue on the right.
With `--belt` it is a grey belt instead, on which a part enters every `PERIOD` seconds of that clock
and moves to the right: part k at second k * PERIOD, in the colour k % 3.
Needs GStreamer's server and its Python bindings (apt: gir1.2-gst-rtsp-server-1.0 python3-gi).
"""

import argparse
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

WIDTH, HEIGHT, COLUMNS, ROWS = 320, 240, 8, 4
BLOCK_WIDTH, BLOCK_HEIGHT = WIDTH // COLUMNS, HEIGHT // 2 // ROWS
BLACK, WHITE, RED, BLUE = b"\x00\x00\x00", b"\xff\xff\xff", b"\x00\x00\xff", b"\xff\x00\x00"  # BGR
LOWER = (RED * (WIDTH // 2) + BLUE * (WIDTH // 2)) * (HEIGHT // 2)


def picture() -> bytes:
    """Return a BGR picture of this moment."""
    stamp = round(time.monotonic() * 1000) & 0xFFFFFFFF
    upper = b""
    for row in range(ROWS):
        bits = [stamp >> (row * COLUMNS + column) & 1 for column in range(COLUMNS)]
        line = b"".join((WHITE if bit else BLACK) * BLOCK_WIDTH for bit in bits)
        upper += line * BLOCK_HEIGHT
    return upper + LOWER


PERIOD, SPEED, SIDE, TOP = 2.0, 100, 60, 90
BELT = b"\x50\x50\x50"
COLOURS = (b"\x20\x30\xe0", b"\xe0\x40\x20", b"\x30\xd0\x40")


def belt() -> bytes:
    """Return a BGR picture of the belt at this moment."""
    now = time.monotonic()
    line = bytearray(BELT * WIDTH)
    for part in range(int(now / PERIOD) - 4, int(now / PERIOD) + 1):
        left = round((now - part * PERIOD) * SPEED) - SIDE
        begin, end = max(0, left), min(WIDTH, left + SIDE)
        if begin < end:
            line[3 * begin : 3 * end] = COLOURS[part % 3] * (end - begin)
    plain = BELT * WIDTH
    return plain * TOP + bytes(line) * SIDE + plain * (HEIGHT - TOP - SIDE)


class Factory(GstRtspServer.RTSPMediaFactory):
    """Makes one pipeline, shared by all clients, fed from a timer."""

    def __init__(self, fps, draw):
        super().__init__()
        self.fps, self.draw = fps, draw
        self.set_shared(True)
        caps = f"video/x-raw,format=BGR,width={WIDTH},height={HEIGHT},framerate={fps}/1"
        self.set_launch(
            f"( appsrc name=source is-live=true do-timestamp=true format=time caps={caps} "
            "! videoconvert ! video/x-raw,format=I420 "
            f"! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} bitrate=1500 "
            "! rtph264pay name=pay0 pt=96 config-interval=1 )"
        )

    def do_configure(self, media):
        GstRtspServer.RTSPMediaFactory.do_configure(self, media)
        source = media.get_element().get_child_by_name("source")
        timer = GLib.timeout_add(round(1000 / self.fps), self.push, source)
        media.connect("unprepared", lambda _: GLib.source_remove(timer))

    def push(self, source):
        source.emit("push-buffer", Gst.Buffer.new_wrapped(self.draw()))
        return True


def protect(server, factory, user, password):
    """Let in only who knows the password."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


def main():
    """Serve rtsp://127.0.0.1:PORT/line until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--belt", action="store_true")
    parser.add_argument("--user")
    parser.add_argument("--password")
    args = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(args.port)
    factory = Factory(args.fps, belt if args.belt else picture)
    if args.user:
        protect(server, factory, args.user, args.password)
    server.get_mount_points().add_factory("/line", factory)
    server.attach(None)
    print("serving", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
