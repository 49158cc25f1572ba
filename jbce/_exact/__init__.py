"""What exact functions are made of: primitives, scalar kernels, and rows without their maximum."""

from ._pair import TINY_BEYOND as TINY_BEYOND
from ._pair import Exponential as Exponential
from ._pair import Pair as Pair
from ._pair import constant as constant
from ._pair import exponential as exponential
from ._pair import log1p_of_unit_pair as log1p_of_unit_pair
from ._pair import single as single
from ._pair import two_sum as two_sum
from ._primitive import Form as Form
from ._primitive import alike as alike
from ._primitive import arithmetic_dtype as arithmetic_dtype
from ._primitive import by_precision as by_precision
from ._primitive import elementwise as elementwise
from ._primitive import exact_primitive as exact_primitive
from ._row import Row as Row
from ._row import leave_maximum_out as leave_maximum_out
from ._row import per_platform as per_platform
from ._row import row_of as row_of
from ._scalar import at_least as at_least
from ._scalar import at_most as at_most
from ._scalar import exp_of_moderate as exp_of_moderate
from ._scalar import log1p_of_unit as log1p_of_unit
from ._scalar import polynomial as polynomial
from ._scalar import rounded_product as rounded_product
