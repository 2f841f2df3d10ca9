/// @file
/// The elements that an index map names, fetched by walking its loops as they are documented.
#pragma once

#include <vector>

#include <gtest/gtest.h>

#include "mapping/view.hpp"
#include "support/naive_tensor.hpp"

namespace shardwise::test {

/// Source offset of step @p index of an axis: its loops are a mixed-radix number, innermost digit last.
inline std::int64_t axis_offset(Axis const& axis, std::int64_t index) {
    std::int64_t offset = 0;
    for (auto factor = axis.factors.rbegin(); factor != axis.factors.rend(); ++factor) {
        offset += index % factor->extent * factor->stride;
        index /= factor->extent;
    }
    return offset;
}

/// Fails the test if an element is named twice; one that is not named at all stays -1.
inline NaiveTensor read_view(View const& view, std::vector<NaiveTensor> const& sources) {
    NaiveTensor result{view.shape, std::vector<std::int64_t>(static_cast<std::size_t>(view.shape.num_elements()), -1)};
    for (auto const& region : view.regions) {
        auto const visit = [&](auto const& self, std::size_t dim, std::int64_t to, std::int64_t from) -> void {
            if (dim == view.shape.rank()) {
                auto& value = result.values[static_cast<std::size_t>(to)];
                EXPECT_EQ(value, -1) << "named twice";
                value = sources[region.source].values[static_cast<std::size_t>(from)];
                return;
            }
            auto const& axis = region.axes[dim];
            for (std::int64_t i = 0; i < axis.extent; ++i) {
                self(self, dim + 1, to * view.shape[dim] + axis.begin + i, from + axis_offset(axis, i));
            }
        };
        visit(visit, 0, 0, region.offset);
    }
    return result;
}

}  // namespace shardwise::test
