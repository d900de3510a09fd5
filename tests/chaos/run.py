"""Chaos: clients that lose their connections, and a server that is killed; not one event may be lost.

``python -m tests.chaos.run [--seed N] [--seconds N] [--clients N] [--streams N] [--kills N]``

Exactly 1, 2, 3, … is what every client must see of every stream, or be told that it cannot.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import tempfile
from pathlib import Path

import attrs
import trio
from rich.console import Console

from tests.chaos.client import Client, Tally
from tests.chaos.process import ServerProcess


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="repeats a run's decisions")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--streams", type=int, default=4, help="streams that each client has at once")
    parser.add_argument("--kills", type=int, default=30)
    options = parser.parse_args()
    say(f"The seed is {options.seed}; --seed {options.seed} takes the same decisions.")
    tally = trio.run(perform, options)
    say(f"No event was lost, doubled, reordered or misrouted: {describe(tally)}")
    if tally.gaps:
        sys.exit("The log kept all that there was, so nobody should have been told of a gap.")


async def perform(options: argparse.Namespace) -> Tally:
    tally = Tally()
    with tempfile.TemporaryDirectory() as directory:
        async with trio.open_nursery() as nursery:
            server = ServerProcess(nursery, Path(directory) / "log.db")
            await server.start()
            async with trio.open_nursery() as showing:
                showing.start_soon(show, tally, server)
                await use(server, options, tally)
                showing.cancel_scope.cancel()
            if status := await server.stop():
                raise RuntimeError(f"the server's exit status is {status}")
    return tally


async def use(server: ServerProcess, options: argparse.Namespace, tally: Tally) -> None:
    """Have clients use the server while it is killed again and again, and see the end of all their streams."""
    everybody = [Client(number, server.url, options.seed, tally) for number in range(options.clients)]
    async with trio.open_nursery() as nursery:
        for client in everybody:
            nursery.start_soon(client.run, options.streams)
        await torment(server, options)
        for client in everybody:
            client.stopping = True


async def torment(server: ServerProcess, options: argparse.Namespace) -> None:
    """Kill the server again and again, and start it anew."""
    decide = random.Random(options.seed)
    began = trio.current_time()
    for kill in range(1, options.kills + 1):
        await trio.sleep_until(began + options.seconds * (kill - decide.random() / 2) / (options.kills + 1))
        await server.kill()
        await server.start()
    await trio.sleep_until(began + options.seconds)


async def show(tally: Tally, server: ServerProcess) -> None:
    """Show how far it is, until it is cancelled."""
    began = trio.current_time()
    while True:
        await trio.sleep(5)
        say(f"{trio.current_time() - began:4.0f} s, {server.kills:2} kills: {describe(tally)}")


def say(text: str) -> None:
    Console().print(text, soft_wrap=True, highlight=False)


def describe(tally: Tally) -> str:
    return ", ".join(f"{value:,} {name}" for name, value in attrs.asdict(tally).items())


if __name__ == "__main__":
    main()
