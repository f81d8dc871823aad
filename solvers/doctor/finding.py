"""What an examination finds: one line of its table each, and which of them is the cause of the others."""
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

OK, LOOK, WRONG = 'OK', 'look', 'wrong'

# What may be wrong, each before all that it brings about: of several, the first is the cause. A net whose labels are
# shifted does not learn its image either, and one whose trunk is dead finds no rate.
CAUSES = (
    'set-up', 'data',
    'label values', 'label size', 'void', 'one class', 'mirrored masks', 'shifted masks', 'masks of other images',
    'classes', 'ignore label', 'loss weight',
    'weights', 'transplant', 'not finite',
    'pixel scale', 'mean', 'channel order',
    'batch statistics', 'frozen', 'lr_mult', 'dropout', 'zero layers', 'upsampling', 'crop',
    'dead units', 'activations', 'gradient',
    'memory',
    'clipping', 'policy', 'momentum', 'weight decay', 'rate too large', 'rate too small', 'steps',
    'one image',
    'weights now', 'held-out images', 'overfitting', 'diverged', 'chance',
)


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Parameters
    ----------
    check : str
        What was looked at.
    state : str
        `OK`; `LOOK`, worth a look, though training may go well; or `WRONG`.
    what : str
        What was found, with its figures.
    cause : str
        Of what is wrong, one of `CAUSES`.
    remedy : str
        The command, or the line to edit, that mends it.
    figures : dict
        The numbers, for `--json`.
    """
    check: str
    state: str
    what: str
    cause: str = ''
    remedy: str = ''
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.state != WRONG or (self.cause in CAUSES and self.remedy), self


def fine(check: str, what: str, **figures: Any) -> Finding:
    """Nothing to do."""
    return Finding(check, OK, what, figures=figures)


def look(check: str, what: str, remedy: str = '', **figures: Any) -> Finding:
    """Worth a look, though training may go well."""
    return Finding(check, LOOK, what, remedy=remedy, figures=figures)


def wrong(check: str, cause: str, what: str, remedy: str, **figures: Any) -> Finding:
    """Something that keeps the net from learning; `cause` is one of `CAUSES`."""
    return Finding(check, WRONG, what, cause, remedy, figures)


def cause_of(findings: Sequence[Finding]) -> Finding | None:
    """Of all that is wrong, what brings the rest about; None where nothing is.

    >>> found = [wrong('rate', 'rate too large', 'r', 'lower it'), wrong('labels', 'void', 'v', 'label it')]
    >>> cause_of(found).cause
    'void'
    """
    return min((finding for finding in findings if finding.state == WRONG),
               key=lambda finding: CAUSES.index(finding.cause), default=None)


def sentence(findings: Sequence[Finding]) -> str:
    """What an examination ends with: the cause, and what mends it."""
    cause = cause_of(findings)
    return f'The cause: {cause.what}; {cause.remedy}.' if cause else 'Nothing wrong found.'
