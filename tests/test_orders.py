"""Orders of several sources: what was said and what was asked, and that STOP comes last."""

from __future__ import annotations

from edge_wam.mailbox import Mailbox, private_name
from edge_wam.messages import HEARD, HeardReader, HeardWriter
from edge_wam.orders import Order, Orders, Verb, VoiceOrders
from edge_wam.types import Words

STOP, QUIT = Order(Verb.STOP), Order(Verb.QUIT)


def test_voice_orders_stop_comes_last_and_unknown_words_order_nothing():
    told = []
    with Mailbox.create(private_name("h"), HEARD) as box:
        voice, given = HeardWriter(box), Orders()
        orders = VoiceOrders(
            HeardReader(box),
            lambda words: {"grab the red cube": "pick up the red cube"}.get(words.text),
            given,
            lambda news, command: told.append((news.words.text, command)),
        )
        say = Words("grab the red cube", 1.0, 0.9, True, "en")
        given.give(Order(Verb.PARK))
        voice.put(say._replace(final=False), stop=False)  # a STOP that was denied
        assert orders.take() == [Order(Verb.PARK)]
        voice.put(say, stop=False)
        voice.put(say._replace(text="make me a sandwich"), stop=False)
        assert orders.take() == [Order(Verb.DO, "pick up the red cube")]
        voice.put(say._replace(text="stop", final=False), stop=True)
        voice.put(say, stop=False)
        assert orders.take() == [Order(Verb.DO, "pick up the red cube"), STOP]
        assert orders.take() == []
        voice.put(say._replace(text="stop now"), stop=True)
        assert orders.take() == [STOP]
        voice.put(say, stop=True)  # begun with STOP, and ended as a command
        assert orders.take() == [STOP]
    assert told[0] == ("grab the red cube", None)
    assert told[2] == ("make me a sandwich", None)
    assert told[4:] == [("stop now", "STOP"), ("grab the red cube", "STOP")]  # once, when it is over


def test_who_was_told_to_leave_begins_nothing_new_but_stops():
    with Mailbox.create(private_name("h"), HEARD) as box:
        voice, given = HeardWriter(box), Orders()
        orders = VoiceOrders(HeardReader(box), lambda words: words.text, given)
        say = Words("home", 1.0, 0.9, True, "en")
        voice.put(say, stop=False)
        given.give(QUIT)
        assert orders.take() == [QUIT]  # said in the same tick
        voice.put(say, stop=False)
        given.give(Order(Verb.DO, "home"))
        assert orders.take() == []
        voice.put(say._replace(text="stop", final=False), stop=True)
        assert orders.take() == [STOP]
