"""A real RTSP server with made pictures, for the tests: run by the system's Python, which has GStreamer.

    /usr/bin/python3 rtsp_server.py PORT [--user NAME --password WORD] [--size 320x240] [--fps 15] PATH=PATTERN…

PATTERN is one of videotestsrc (`smpte` has a corner of noise, `checkers-8` stands still, `black`, `solid-color`).
`PATH=clock` shows the wall clock, hundredths of a second modulo 65536, as sixteen stripes, lowest bit first.
Prints `ready` once it listens.
"""

# Types of GStreamer are known to the system's Python only.
# mypy: ignore-errors

import argparse
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PATTERN = (
    "( videotestsrc is-live=true pattern={pattern} foreground-color=0xff707070 "
    "! video/x-raw,width={width},height={height},framerate={fps}/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} "
    "! rtph264pay name=pay0 pt=96 config-interval=1 )"
)
CLOCK = (
    "( appsrc name=clock is-live=true format=time do-timestamp=true "
    "caps=video/x-raw,format=GRAY8,width=320,height=240,framerate={fps}/1 ! videoconvert "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} "
    "! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("streams", nargs="+")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--fps", default=15)
    return parser.parse_args()


def protect(server, factory, user, password):
    """Let in who knows the password, by Basic and by Digest."""
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtspServer.RTSPAuth.get_supported_methods(auth))
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    auth.add_digest(user, password, token)
    server.set_auth(auth)
    factory.add_role_from_structure(
        Gst.Structure.new_from_string(
            "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
        )
    )


def show_clock(_factory, media, fps):
    source = media.get_element().get_by_name("clock")

    def push():
        now = int(time.time() * 100) % 65536
        row = b"".join((b"\xe4" if now >> bit & 1 else b"\x1c") * 20 for bit in range(16))
        return source.emit("push-buffer", Gst.Buffer.new_wrapped(row * 240)) == Gst.FlowReturn.OK

    GLib.timeout_add(1000 // fps, push)


def main():
    args = arguments()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(args.port)
    width, height = args.size.split("x")
    for stream in args.streams:
        path, pattern = stream.split("=", 1)
        factory = GstRtspServer.RTSPMediaFactory()
        if pattern == "clock":
            factory.set_launch(CLOCK.format(fps=args.fps))
            factory.connect("media-configure", show_clock, int(args.fps))
        else:
            factory.set_launch(PATTERN.format(pattern=pattern, width=width, height=height, fps=args.fps))
        factory.set_shared(True)
        if args.user:
            protect(server, factory, args.user, args.password)
        server.get_mount_points().add_factory(path, factory)
    if not server.attach(None):
        raise SystemExit(f"cannot listen on port {args.port}")
    print("ready", flush=True)
    GLib.MainLoop().run()


main()
