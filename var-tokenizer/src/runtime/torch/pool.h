// Large tensors lie in a pool of their own (pool.cpp).
#pragma once

namespace var {

// Makes it libtorch's allocator on the processor. Before the first tensor.
void use_pool();

}  // namespace var
