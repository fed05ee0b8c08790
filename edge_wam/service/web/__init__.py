"""The page: what the robot sees, imagines and does, in a browser; and STOP.

A process of its own (`edge-wam web`, edge-wam-web.service) that reads the boxes of telemetry.py and posts
orders to one of them. The robot does not know that it is there.

    server.py    routes, and the way from settings to a socket
    gate.py      who may come in: token, cookie, Host, Origin
    watch.py     what the robot tells, as messages for browsers; whether a STOP was carried out
    written.py   what is written into it: done, asked back or refused
    sights.py    frames as JPEG, the imagined future beside what then happened
    metrics.py   the same for Prometheus
    static/      the page itself, by hand: no build step, nothing from elsewhere
"""
