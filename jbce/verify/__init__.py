"""Judging any function: enclosures, gradients against the truth, audits in ulps."""

from ._audit import AuditReport as AuditReport
from ._audit import AuditRow as AuditRow
from ._audit import audit as audit
from ._enclose import Enclosure as Enclosure
from ._enclose import enclose as enclose
from ._gradients import assert_gradients as assert_gradients
from ._gradients import check_gradients as check_gradients
from ._interpreter import Undecided as Undecided
from ._interpreter import UnknownPrimitive as UnknownPrimitive
from ._interpreter import register_definition as register_definition
from ._laws import Law as Law
from ._laws import LawsReport as LawsReport
from ._laws import check_laws as check_laws
from ._report import Caught as Caught
from ._report import GradientError as GradientError
from ._report import GradientReport as GradientReport
from ._report import Worst as Worst
from ._signature import example as example
from ._signature import kind_of as kind_of

__all__ = [name for name in dir() if not name.startswith("_")]
