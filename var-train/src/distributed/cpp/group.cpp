// Collectives over Gloo, and the reducer that averages gradients during the backward pass.
#define USE_C10D_GLOO 1
#include "shim.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/comm.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <algorithm>
#include <vector>

using var::attempt;
using var::Group;
using var::Milliseconds;
using var::Store;
using Reducer = std::shared_ptr<c10d::Reducer>;

namespace {
std::vector<at::Tensor> list(at::Tensor* const* tensors, size_t n) {
  std::vector<at::Tensor> all;
  all.reserve(n);
  for (size_t i = 0; i < n; i++) all.push_back(*tensors[i]);
  return all;
}

void finish(const c10::intrusive_ptr<c10d::Work>& work) { work->wait(); }

at::Tensor sum_of_ranks(c10d::ProcessGroup& group, const at::Tensor& own) {
  std::vector<at::Tensor> tensors{own.contiguous().clone()};
  c10d::AllreduceOptions options;
  options.reduceOp = c10d::ReduceOp::SUM;
  finish(group.allreduce(tensors, options));
  return tensors.front();
}

// The sum over all ranks. Its gradient is the sum of all ranks' gradients: every rank's loss depends on it.
struct Sum : torch::autograd::Function<Sum> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& own, const Group& group) {
    context->saved_data["group"] = c10::IValue::make_capsule(group);
    return sum_of_ranks(*group, own);
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               torch::autograd::tensor_list gradients) {
    const auto group = c10::static_intrusive_pointer_cast<c10d::ProcessGroup>(context->saved_data["group"].toCapsule());
    return {sum_of_ranks(*group, gradients.front()), at::Tensor()};
  }
};
}  // namespace

extern "C" {
// Makes a group of `size` ranks that find each other through `store`. `address` is the local address at which the
// others reach this rank; empty: GLOO_SOCKET_IFNAME decides.
int var_group_gloo(Store* store, int rank, int size, const char* address, int64_t timeout, Group** out) {
  return attempt([&] {
    auto options = *address == '\0' ? c10d::ProcessGroupGloo::Options::create_default(Milliseconds(timeout))
                                    : c10d::ProcessGroupGloo::Options::create(Milliseconds(timeout));
    if (*address != '\0') {
      options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(address));
    }
    auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(*store, rank, size, options);
    auto group = c10::make_intrusive<c10d::ProcessGroup>(*store, rank, size);
    group->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::GLOO, gloo);
    group->setDefaultBackend(c10d::ProcessGroup::GLOO);
    group->setGroupName("ranks");
    *out = new Group(group);
  });
}

void var_group_free(Group* group) { delete group; }

int var_group_all_reduce(Group* group, at::Tensor* tensor) {
  return attempt([&] {
    c10::NoGradGuard off;
    std::vector<at::Tensor> tensors{*tensor};
    c10d::AllreduceOptions options;
    options.reduceOp = c10d::ReduceOp::SUM;
    finish((*group)->allreduce(tensors, options));
  });
}

int var_group_sum(Group* group, at::Tensor* own, at::Tensor** out) {
  return attempt([&] { *out = new at::Tensor(Sum::apply(*own, *group)); });
}

// Sends all tensors from rank `root` to the others, packed into large messages.
int var_group_broadcast(Group* group, at::Tensor* const* tensors, size_t n, int root) {
  return attempt([&] {
    c10::NoGradGuard off;
    constexpr size_t message = size_t{64} << 20;
    c10d::broadcast_coalesced(*group, list(tensors, n), message, root);
  });
}

int var_group_all_gather(Group* group, at::Tensor* all, at::Tensor* own) {
  return attempt([&] {
    c10::NoGradGuard off;
    finish((*group)->_allgather_base(*all, *own));
  });
}

int var_group_reduce_scatter(Group* group, at::Tensor* own, at::Tensor* all) {
  return attempt([&] {
    c10::NoGradGuard off;
    finish((*group)->_reduce_scatter_base(*own, *all));
  });
}

int var_group_barrier(Group* group) {
  return attempt([&] { finish((*group)->barrier()); });
}

// Fails if the tensors of this rank differ from those of rank 0 in number, type or shape.
int var_group_same_shapes(Group* group, at::Tensor* const* tensors, size_t n) {
  return attempt([&] { c10d::verify_params_across_processes(*group, list(tensors, n), {}); });
}

int var_reducer_new(Group* group, at::Tensor* const* parameters, size_t n, int64_t first, int64_t bucket,
                    Reducer** out) {
  return attempt([&] {
    const auto all = list(parameters, n);
    const std::vector<bool> sparse(n, false);
    const std::vector<size_t> limits{static_cast<size_t>(first), static_cast<size_t>(bucket)};
    // A backward pass computes the gradients of the last layers first.
    auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(all, limits, sparse));
    std::reverse(buckets.begin(), buckets.end());
    *out = new Reducer(std::make_shared<c10d::Reducer>(
        all, std::move(buckets), *group, sparse, bucket, /*find_unused_parameters=*/false,
        /*gradient_as_bucket_view=*/false, std::unordered_map<size_t, std::string>{}, first,
        /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false, std::vector<int64_t>{}));
  });
}

// Makes the next backward pass average the gradients over all ranks. These include gradients from earlier passes.
int var_reducer_expect(Reducer* reducer) {
  return attempt([&] {
    (*reducer)->prepare_for_forward();
    // After the first pass, the buckets follow the order in which the gradients were ready.
    (*reducer)->rebuild_buckets();
    (*reducer)->prepare_for_backward({});
  });
}

void var_reducer_free(Reducer* reducer) { delete reducer; }
}
