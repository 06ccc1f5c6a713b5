//! What the C++ half (`runtime/torch/shim.cpp`) calls before `main`.
#![allow(unsafe_code)]

/// Makes this process the server of a token file.
// SAFETY: no other function of this program has this name.
#[unsafe(no_mangle)]
extern "C" fn var_serve_tokens() {
    super::apart::serve();
}
