#!/usr/bin/env python3
"""A charger in one page, from docs/mqtt.md alone. Needs paho-mqtt (Debian: python3-paho-mqtt).

    charger.py HOST PORT SITE DEVICE PASSWORD USER SECONDS

A vehicle is plugged in and started for USER, draws what it may up to 16 A on one phase at 230 V, and ends after
SECONDS. A real charger keeps `boot` and the register in storage; here boot is the time of day, the register begins at 0.
"""
import json
import sys
import time

import paho.mqtt.client as mqtt

HOST, PORT, SITE, DEVICE, PASSWORD, USER, SECONDS = sys.argv[1:8]
BOOT = int(time.time())
waiting = {}  # seq -> [channel, payload, when it was last sent]; Python keeps the order
sent_at = {}  # seq -> when it was first sent
seq, in_force, last_number, register_mws, wants = 0, None, 0, 0, False  # in_force: (number, limit_ma, expires)


def topic(channel):
    return f"wattle/v1/{SITE}/{DEVICE}/{channel}"


def send(channel, message, retain=False):
    client.publish(topic(channel), json.dumps(message), qos=1, retain=retain)


def transmit(number):
    channel, message, _ = waiting[number]
    waiting[number][2] = time.monotonic()
    sent_at.setdefault(number, time.monotonic())
    while len(sent_at) > 256:
        del sent_at[min(sent_at)]
    send(channel, message)


def numbered(channel, **message):
    global seq
    seq += 1
    now_us = time.time_ns() // 1000
    waiting[seq] = [channel, {"boot": BOOT, "seq": seq, "at_us": now_us, **message}, 0]
    transmit(seq)


def register_wh():
    return register_mws // 3_600_000


def reading():
    state = "available" if not wants else "charging" if draw_ma() else "waiting"
    numbered("reading", state=state, setpoint=in_force[0] if in_force else 0, current_ma=[draw_ma()],
             voltage_mv=[230_000], power_w=draw_ma() * 230 // 1000, register_wh=register_wh())


def draw_ma():
    limit = in_force[1] if in_force and wants else 0
    return min(limit, 16_000) if limit >= 6_000 else 0


def refusal(setpoint):
    seen = setpoint.get("seen") or {}
    if setpoint["limit_ma"] < 0 or not 0 < setpoint["validity_ms"] <= 3_600_000:
        return "out_of_range"
    if setpoint["number"] <= last_number:
        return "superseded"
    if seen.get("boot") != BOOT or seen.get("seq") not in sent_at:
        return "unknown_seen"
    if sent_at[seen["seq"]] + setpoint["validity_ms"] / 1000 <= time.monotonic():
        return "expired"
    return None


def on_connect(client, userdata, flags, code, *rest):
    client.subscribe([(topic("setpoint"), 0), (topic("ack"), 0)])
    send("announce", {"kind": "charger", "boot": BOOT, "model": "charger.py"}, retain=True)
    send("status", {"online": True, "boot": BOOT}, retain=True)
    for number in list(waiting):
        transmit(number)


def on_message(client, userdata, packet):
    global in_force, last_number
    message = json.loads(packet.payload)
    if packet.topic == topic("ack"):
        if message["boot"] == BOOT:
            for number in [n for n in waiting if message["from"] <= n <= message["to"]]:
                del waiting[number]
        return
    reason, confirm = refusal(message), {"boot": BOOT, "setpoint": message["number"]}
    if reason is None:
        last_number = message["number"]
        in_force = (last_number, message["limit_ma"], sent_at[message["seen"]["seq"]] + message["validity_ms"] / 1000)
    else:
        confirm["refused"] = reason
    send("confirm", confirm)
    reading()


version = [mqtt.CallbackAPIVersion.VERSION2] if hasattr(mqtt, "CallbackAPIVersion") else []
client = mqtt.Client(*version, client_id=DEVICE)
client.username_pw_set(DEVICE, PASSWORD)
client.will_set(topic("status"), json.dumps({"online": False, "boot": BOOT}), qos=1, retain=True)
client.on_connect, client.on_message = on_connect, on_message
client.connect(HOST, int(PORT), keepalive=10)

numbered("session", step="plug", register_wh=register_wh())
numbered("session", step="start", register_wh=register_wh(), user=USER)
wants, end, counted, next_reading = True, time.monotonic() + float(SECONDS), time.monotonic(), 0
while wants or (waiting and time.monotonic() < end + 10):
    client.loop(timeout=0.05)  # calls on_connect and on_message
    now = time.monotonic()
    register_mws += draw_ma() * 230 * int((now - counted) * 1000) // 1000  # mA x V = mW
    counted += int((now - counted) * 1000) / 1000
    if in_force and in_force[2] <= now:
        in_force, next_reading = None, now
    if wants and now >= end:
        wants = False
        numbered("session", step="end", register_wh=register_wh())
        numbered("session", step="unplug", register_wh=register_wh())
    if wants and now >= next_reading:
        next_reading = now + 1
        reading()
    for number in [n for n in waiting if waiting[n][2] + 3 <= now]:
        transmit(number)
    if not client.is_connected() and now % 1 < 0.06:
        try:
            client.reconnect()
        except OSError:
            pass
send("status", {"online": False, "boot": BOOT}, retain=True)
client.loop(timeout=0.5)
client.disconnect()
print(json.dumps({"register_wh": register_wh(), "unacknowledged": len(waiting)}))
sys.exit(1 if waiting else 0)
