/// @file
/// Extents of a tensor, outermost first, row-major.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace shardwise {

/// Up to eight extents, kept in place: a catalog holds one per tensor. A scalar has none.
class Shape {
   public:
    static constexpr std::size_t kMaxRank = 8;

    Shape() = default;
    Shape(std::initializer_list<std::int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}

    /// @throws Error input for more than kMaxRank extents.
    explicit Shape(std::span<std::int64_t const> extents);

    std::size_t rank() const noexcept { return rank_; }
    std::int64_t& operator[](std::size_t dim) noexcept { return extents_[dim]; }
    std::int64_t operator[](std::size_t dim) const noexcept { return extents_[dim]; }
    auto begin() const noexcept { return extents_.begin(); }
    auto end() const noexcept { return extents_.begin() + rank_; }

    /// Product of the extents: 1 for a scalar, 0 if any is 0. Shapes from a catalog are checked not to overflow.
    std::int64_t num_elements() const noexcept;

    /// A copy with @p extent put in before @p dim, respectively with @p dim left out.
    Shape with_inserted(std::size_t dim, std::int64_t extent) const;
    Shape without(std::size_t dim) const;

    bool operator==(Shape const& other) const noexcept;

   private:
    std::array<std::int64_t, kMaxRank> extents_ = {};
    std::uint8_t rank_ = 0;
};

/// Example: "[128, 64]".
std::string to_string(Shape const& shape);

}  // namespace shardwise
