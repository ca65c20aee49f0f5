# SPDX-License-Identifier: LGPL-2.1-only
"""The channel MQTT, with Mosquitto as the broker: what comes to the devices."""

import pytest

from mqtt_broker import Broker
from outband_peers import wait_for
from test_outband_channels import Outband

TOPIC = "pimap/joe/phone"
EMN = '<emn mailbox="mailat:joe@example.com" timestamp="2004-02-20T06:40:00Z"></emn>'


class MQTT(Outband):
    def __init__(self, url, **values):
        super().__init__("MQTT", TOPIC, dict({
            "pimap_channels": "mqtt", "pimap_mqtt_url": url, "pimap_mqtt_prefix": "pimap",
            "pimap_clear_text": "mqtt"}, **values))

    def sent(self):
        return self.server.log().count("by MQTT): sent")


@pytest.fixture(scope="module")
def broker():
    broker = Broker()
    yield broker
    broker.stop()


@pytest.fixture
def mqtt(broker, request):
    mqtt = MQTT(broker.url, **getattr(request, "param", {}))
    mqtt.broker = broker
    yield mqtt
    faults = mqtt.server.faults()
    mqtt.stop()
    if request.node.get_closest_marker("expects_faults") is None:
        assert faults == []


def test_emn_as_sent(mqtt):
    """R-13.2: as text"""
    device = mqtt.broker.device(TOPIC)
    mqtt.new()
    wait_for(lambda: device.messages)
    assert device.messages == [(TOPIC, EMN)]
    assert mqtt.server.logs("(NEW_MESSAGE by MQTT): sent")
