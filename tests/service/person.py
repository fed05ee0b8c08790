"""A person who calibrates, and the simulated arm that they move by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from edge_wam.act.calibration import DYNAMIXEL, FEETECH, Calibration
from edge_wam.service import eeprom, finding
from edge_wam.sim.dynamixel import DynamixelChain
from edge_wam.sim.kinematic import KinematicPlant
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.wire import Faults, LoopPort

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "calibration" / "so101-sim" / "arm.json"
REST_RAD = np.array([0.1, -1.2, 0.9, 1.0, -0.3, 0.65])
LOW_RAD = np.array([-1.920, -1.746, -1.690, -1.659, -2.744, 0.0])
HIGH_RAD = np.array([1.920, 1.746, 1.690, 1.659, 2.842, 1.92])
CHAINS = {FEETECH: ServoChain, DYNAMIXEL: DynamixelChain}


class Person:
    """Answers in turn; while watching moves the arm by hand through `ways` (poses), then presses ENTER."""

    def __init__(self, robot, answers=(), ways=()):
        self.robot, self.answers, self.ways = robot, list(answers), [list(way) for way in ways]
        self.heard = []

    def say(self, text):
        self.heard.append(text)

    def ask(self, question):
        self.heard.append(question)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer(self) if callable(answer) else answer

    def watch(self, question, sample):
        self.heard.append(question)
        for pose in self.ways.pop(0):
            self.robot.put(pose)
            self.heard.append(str(sample()))


def by_hand(*, only=range(6), steps=40):
    """One joint after another to both of its stops and back."""
    pose, way = REST_RAD.copy(), []
    for joint in only:
        for target in (LOW_RAD[joint], HIGH_RAD[joint], REST_RAD[joint]):
            for at in np.linspace(pose[joint], target, steps):
                pose[joint] = at
                way.append(pose.copy())
    return way


def arm_of(servos=FEETECH, plant=None, built_in_reversed=()):
    """Six servos calibrated as the shipped file says; put moves them by hand, sleep lets time pass.
    built_in_reversed: joints (indices) of which the servo sits the other way round, and is set so."""
    true = Calibration.load(SHIPPED, servos)
    if built_in_reversed:
        joints = [
            replace(joint, drive_mode=int(i in built_in_reversed)) for i, joint in enumerate(true.joints)
        ]
        true = Calibration(tuple(joints), true.source)
    plant = KinematicPlant(REST_RAD, LOW_RAD, HIGH_RAD) if plant is None else plant
    chain = CHAINS[servos](plant, true)
    made = SimpleNamespace(plant=plant, chain=chain, faults=Faults(), true=true, servos=servos)

    def put(pose):
        plant.position_rad[:] = pose
        plant.goal_rad[:] = pose
        chain.update()

    def sleep(seconds):
        for _ in range(round(seconds * 300)):
            plant.step()
            chain.update()

    made.put, made.sleep = put, sleep

    def open_port(path, baud_bps=1_000_000):
        port = LoopPort(chain, faults=made.faults)
        port.baudrate = baud_bps
        return port

    made.open = open_port
    return made


def plug_in(robot, monkeypatch):
    """Whatever port is opened, this arm is behind it."""
    monkeypatch.setattr(eeprom, "open_port", robot.open)
    monkeypatch.setattr(finding, "open_port", robot.open)
