/// @file
/// Operations of a converter run on whole tensors with counting values.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <shardwise/error.hpp>

#include "mapping/operation.hpp"
#include "support/naive_tensor.hpp"
#include "support/read_view.hpp"

namespace shardwise::test {

using Values = std::vector<std::int64_t>;

/// Source texts and the shapes of the tensors that each collected. Values count on from one tensor to the next.
using Inputs = std::vector<std::pair<std::string, std::vector<Shape>>>;

struct Output {
    std::string key;
    NaiveTensor tensor;
};

inline std::int64_t operation_size(std::string const& name) {
    std::map<std::string, std::int64_t> const sizes = {{"num_attention_heads", 2},
                                                       {"vision_config.num_attention_heads", 4},
                                                       {"num_key_value_heads", 1},
                                                       {"q_rows", 4},
                                                       {"kv_rows", 2},
                                                       {"parts", 3},
                                                       {"none", 0},
                                                       {"channels", 2},
                                                       {"frames", 1},
                                                       {"patch", 2},
                                                       {"negative", -2}};
    auto const found = sizes.find(name);
    if (found == sizes.end()) { throw Error(Errc::input, "no size " + name); }
    return found->second;
}

inline std::vector<Output> run_operations(std::vector<Operation> const& operations, Inputs const& inputs,
                        std::vector<std::string> const& targets) {
    std::vector<NaiveTensor> contents;
    std::vector<Bucket> buckets;
    std::int64_t next = 0;
    for (auto const& [key, shapes] : inputs) {
        Bucket bucket{key, {}, true};
        for (auto const& shape : shapes) {
            TensorRecord record;
            record.dtype = DType::bf16;
            record.shape = shape;
            bucket.tensors.push_back(stored(static_cast<std::uint32_t>(contents.size()), record));
            contents.push_back(counting(shape, next));
            next += shape.num_elements();
        }
        buckets.push_back(std::move(bucket));
    }
    std::vector<Output> outputs;
    for (auto const& bucket : apply_operations(operations, std::move(buckets), targets, operation_size)) {
        for (auto const& tensor : bucket.tensors) {
            outputs.push_back({bucket.key, read_view(evaluate(tensor), contents)});
        }
    }
    return outputs;
}

}  // namespace shardwise::test
