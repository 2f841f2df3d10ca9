#include <shardwise/shape.hpp>

#include <algorithm>

#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {

Shape::Shape(std::span<std::int64_t const> extents) {
    if (extents.size() > kMaxRank) {
        throw Error(Errc::input, fmt::format("{} dimensions, at most {} are supported", extents.size(), kMaxRank));
    }
    std::copy(extents.begin(), extents.end(), extents_.begin());
    rank_ = static_cast<std::uint8_t>(extents.size());
}

std::int64_t Shape::num_elements() const noexcept {
    std::int64_t product = 1;
    for (auto const extent : *this) { product *= extent; }
    return product;
}

Shape Shape::with_inserted(std::size_t dim, std::int64_t extent) const {
    if (rank_ == kMaxRank) {
        throw Error(Errc::input,
                    fmt::format("one more dimension on {}, at most {} are supported", to_string(*this), kMaxRank));
    }
    Shape result = *this;
    std::copy_backward(result.extents_.begin() + dim, result.extents_.begin() + rank_,
                       result.extents_.begin() + rank_ + 1);
    result.extents_[dim] = extent;
    ++result.rank_;
    return result;
}

Shape Shape::without(std::size_t dim) const {
    Shape result = *this;
    std::copy(extents_.begin() + dim + 1, extents_.begin() + rank_, result.extents_.begin() + dim);
    --result.rank_;
    return result;
}

bool Shape::operator==(Shape const& other) const noexcept {
    return std::equal(begin(), end(), other.begin(), other.end());
}

std::string to_string(Shape const& shape) { return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", ")); }

}  // namespace shardwise
