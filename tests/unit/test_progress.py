from io import StringIO

from rich.console import Console

from pai.progress import progress_bar


def test_people_see_a_bar_with_how_far_it_is() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=120)

    with progress_bar("smollm2", console) as report:
        report(49_000_000, 98_000_000, "from PyPI")

    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert "smollm2: from PyPI" in drawn
    assert "49.0/98.0 MB" in drawn


def test_a_log_gets_a_line_for_each_thing_that_happens() -> None:
    console = Console(file=StringIO(), width=40)

    with progress_bar("smollm2", console) as report:
        for done_bytes in range(0, 98_000_000, 1_000_000):
            report(done_bytes, 98_000_000, "from PyPI")
        report(98_000_000, 98_000_000, "checking")

    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines == ["smollm2: from PyPI (0 of 98 MB)", "smollm2: checking (98 of 98 MB)"]
