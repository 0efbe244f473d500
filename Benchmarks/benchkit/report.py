"""The report: machine, figures, goals."""

import statistics

from . import machine


class Report:
    def __init__(self, title):
        self.title = title
        self.machine = machine.describe()
        self.rows = []
        self.notes = []
        self.good = True

    def add(self, name, text, goal=None, met=None):
        """A figure as text; with a goal, whether it is met."""
        verdict = "" if met is None else "met" if met else "MISSED"
        self.rows.append((name, text, goal or "", verdict))
        self.good = self.good and met is not False

    def note(self, text):
        self.notes.append(text)

    def show(self):
        """Prints all; whether every goal is met."""
        print(f"\n{self.title}")
        for line in self.machine:
            print(f"  {line}")
        rows = [("", "measured", "goal", ""), *self.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        print()
        for row in rows:
            print("  " + f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]}".rstrip())
        for text in self.notes:
            print(f"  {text}")
        print(flush=True)
        return self.good


def spread(values, unit="ms", scale=1000, digits=0):
    """Least, median and greatest of several runs."""
    least, middle, greatest = (scale * value for value in (min(values), statistics.median(values), max(values)))
    return f"{least:.{digits}f} / {middle:.{digits}f} / {greatest:.{digits}f} {unit}"


def megabytes(count):
    return f"{count / machine.MEGABYTE:.1f} MB"
