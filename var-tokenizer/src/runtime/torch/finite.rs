//! Whether the values of a tensor are finite: asked once for whatever is loaded, computed for an output, or cast.

use std::fmt;

use tch::{Kind, Tensor};

use crate::runtime::error::{Error, Result};

/// Values that are summed at once.
const PIECE: i64 = 1 << 16;

/// How many values of a tensor are not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFinite {
    /// Values that are not a number.
    pub nan: u64,
    /// Values that are infinite.
    pub infinite: u64,
    /// All values.
    pub of: u64,
}

impl NotFinite {
    /// Counts the values of `tensor` that are not finite; `None` when all are.
    ///
    /// Costs one sum where all are finite. The values of whole-number kinds always are.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn in_tensor(tensor: &Tensor) -> Result<Option<Self>> {
        if !tensor.is_floating_point() || tensor.numel() == 0 {
            return Ok(None);
        }
        let tensor = tensor.detach();
        let mut found = Self { nan: 0, infinite: 0, of: tensor.numel() as u64 };
        // libtorch sums in f64 by way of a copy: a piece of a large tensor at a time.
        let pieces =
            if tensor.is_contiguous() { tensor.f_view([-1])?.f_split(PIECE, 0)? } else { vec![tensor] };
        for piece in pieces {
            // The sum of finite f64 values may overflow; a sum that is finite proves that all its terms are.
            if piece.f_sum(Kind::Double)?.f_double_value(&[])?.is_finite() {
                continue;
            }
            found.nan += piece.f_isnan()?.f_sum(Kind::Int64)?.f_int64_value(&[])? as u64;
            found.infinite += piece.f_isinf()?.f_sum(Kind::Int64)?.f_int64_value(&[])? as u64;
        }
        Ok((found.nan + found.infinite > 0).then_some(found))
    }
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.nan, self.infinite) {
            (nan, 0) => write!(f, "{nan} of {} values are NaN", self.of),
            (0, infinite) => write!(f, "{infinite} of {} values are infinite", self.of),
            (nan, infinite) => write!(f, "{nan} of {} values are NaN, {infinite} infinite", self.of),
        }
    }
}

/// Checks that all values of `tensor` are finite. `what` names it in the error: the tensor, and the file or step
/// that it comes from.
///
/// # Errors
/// [`Error::NotFinite`] when some are not; when libtorch fails.
pub fn check_finite(tensor: &Tensor, what: impl FnOnce() -> String) -> Result<()> {
    match NotFinite::in_tensor(tensor)? {
        None => Ok(()),
        Some(found) => Err(Error::NotFinite { what: what(), found }),
    }
}
