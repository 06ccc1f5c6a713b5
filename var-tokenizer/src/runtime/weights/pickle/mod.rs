//! What `torch.save` writes, read without running anything.
//!
//! A pickle is a program for a stack machine that may call any Python function. `machine` knows plain
//! data and, in `rebuild`, the few functions that put a tensor together; a pickle that names another is
//! refused.
//! `torch_file` finds the tensors' bytes in the two containers, [`writer`] makes new files.

pub(crate) mod globals;
pub(crate) mod machine;
mod rebuild;
pub(crate) mod torch_file;
pub(crate) mod tree;
pub(crate) mod values;
pub mod writer;
