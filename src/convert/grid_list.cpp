#include "convert/grid_list.hpp"

#include <algorithm>
#include <bit>

#include <shardwise/error.hpp>

#include "convert/cast.hpp"
#include "convert/grid_split.hpp"
#include "util/checked.hpp"

namespace shardwise {
namespace {

constexpr std::uint64_t kMostScaled = std::uint64_t{1} << 30U;  ///< rows, columns, and elements of a descriptor
constexpr std::uint64_t kShiftedRun = 256;                      ///< bytes; shorter runs are not worth a head and a tail
constexpr std::uint64_t kTransposedSide = 16;                   ///< elements; less would leave most of a tile empty
constexpr std::uint64_t kWidest = 16;                           ///< bytes of one access
constexpr std::uint64_t kWord = 4;

/// What all addresses of runs have in common, as the bits that any of them has.
struct AddressBits {
    std::uint64_t source = 0;
    std::uint64_t target = 0;
    std::uint64_t element = 0;
};

AddressBits stride_bits(GridJob const& job) noexcept {
    AddressBits all;
    for (auto const& step : job.steps) {
        all.source |= step.source_stride;
        all.target |= step.target_stride;
        all.element |= step.element_stride;
    }
    return all;
}

AddressBits address_bits(GridJob const& job) noexcept {
    auto all = stride_bits(job);
    all.source |= reinterpret_cast<std::uintptr_t>(job.source);
    all.target |= reinterpret_cast<std::uintptr_t>(job.target);
    all.element |= job.element;
    return all;
}

GridLoop loop_of(GridStep const& step) {
    return {fast_divisor(step.count), step.source_stride, step.target_stride, step.element_stride};
}

/// The descriptor of @p job in groups of @p group atoms.
GridBlock block_of(GridJob const& job, GridAtom const& atom, std::uint64_t group, GridWork work) {
    auto const elements = group * atom.elements;
    GridBlock block;
    block.source = job.source;
    block.target = job.target;
    block.element = job.element;
    block.loops[0] = loop_of({job.run / group, group * atom.bytes, elements * job.target_step, elements});
    block.loop_count = static_cast<std::uint8_t>(1 + job.steps.size());
    for (std::size_t i = 0; i < job.steps.size(); ++i) { block.loops[i + 1] = loop_of(job.steps.rbegin()[i]); }
    block.groups = static_cast<std::uint32_t>(atoms_in(job) / group);
    block.work = work;
    block.group = static_cast<std::uint8_t>(elements);
    block.from = job.from;
    block.to = job.to;
    return block;
}

std::uint64_t tiles_of(GridBlock const& block) {
    return ceil_div<std::uint64_t>(block.groups, tile_groups(block.work, block.group));
}

/// Makes a transpose of a descriptor whose first two loops are those over its sides.
std::uint64_t lay_tiles(GridBlock& block) {
    auto const size = transpose_tile(block.target_access);
    block.side_tiles[0] = fast_divisor(ceil_div(block.loops[0].count.divisor, size.run() / block.group));
    block.side_tiles[1] = fast_divisor(ceil_div(block.loops[1].count.divisor, size.across()));
    std::uint64_t tiles = block.side_tiles[0].divisor;
    tiles *= block.side_tiles[1].divisor;
    for (std::size_t i = 2; i < block.loop_count; ++i) { tiles *= block.loops[i].count.divisor; }
    return tiles;
}

/// Index of a step that is long enough for a transpose and goes from element to element by @p stride; none: no such.
template <class Stride>
std::size_t side_step(GridJob const& job, Stride stride, std::uint64_t element_bytes) {
    auto const found = std::find_if(job.steps.begin(), job.steps.end(), [&](GridStep const& step) {
        return step.*stride == element_bytes && step.count >= kTransposedSide;
    });
    return static_cast<std::size_t>(found - job.steps.begin());
}

/// Moves a step to the innermost place.
void bring_in(GridJob& job, std::size_t step) {
    auto const at = job.steps.begin() + static_cast<std::ptrdiff_t>(step);
    std::rotate(at, at + 1, job.steps.end());
}

GridScales scales_of(BlockScaling const& scaling, std::uint64_t first_row) {
    auto const& grid = scaling.grid;
    auto const dtype = scaling.scales.dtype == DType::u8 ? DType::f8_e8m0 : scaling.scales.dtype;
    check_cast(DType::f32, dtype);
    if (std::max(grid.columns, grid.repeat_rows) > kMostScaled) {
        throw Error(Errc::input, "quantized tensors of more than 2^30 rows or columns are not for a GPU");
    }
    GridScales scales;
    scales.table = scaling.scales.bytes.data();
    scales.first_scale = scaling.scales.first;
    scales.grid_columns = grid.grid_columns;
    scales.columns = fast_divisor(grid.columns);
    scales.repeat_rows = fast_divisor(grid.repeat_rows);
    scales.block_rows = fast_divisor(grid.block_rows);
    scales.block_columns = fast_divisor(grid.block_columns);
    scales.first_row = static_cast<std::uint32_t>(first_row % grid.repeat_rows);
    scales.dtype = dtype;
    scales.element_bytes = static_cast<std::uint8_t>(bits(dtype) / 8);
    scales.access =
        static_cast<std::uint8_t>(power_in(reinterpret_cast<std::uintptr_t>(scales.table), scales.element_bytes));
    return scales;
}

/// Gives a descriptor that converts what its groups have in common.
void set_scales(GridBlock& block, GridJob const& job) {
    if (job.scaling == nullptr) { return; }
    auto const columns = job.scaling->grid.columns;
    auto const bits = address_bits(job).element | columns | job.scaling->grid.block_columns;
    block.scales = scales_of(*job.scaling, job.element / columns);
    block.scales.is_shared = bits % block.group == 0;
    block.element = job.element % columns;
}

/// Makes the descriptors of one job that split() gave.
class Maker {
   public:
    using Use = std::function<void(GridBlock, std::uint64_t)>;

    /// @param push takes a descriptor and the number of its tiles.
    Maker(GridAtom const& atom, Use push) : atom_(atom), push_(std::move(push)) {}

    void move(GridJob const& job) const;
    void convert(GridJob const& job) const;
    void digest(GridJob const& job, std::uint32_t result) const;

   private:
    void move_units(GridJob const& job) const;
    void move_by_words(GridJob const& job) const;
    bool transposes(GridJob job) const;
    bool transposes_converted(GridJob job) const;
    void convert_groups(GridJob const& job, std::uint64_t group) const;
    void digest_groups(GridJob const& job, std::uint64_t group, std::uint32_t result) const;
    void push(GridBlock const& block) const { push_(block, tiles_of(block)); }

    /// A run that is no whole number of groups: most of it, then the rest. False if it is short.
    template <class Use>
    bool cut_off_rest(GridJob const& job, std::uint64_t group, Use const& use) const {
        auto const rest = job.run % group;
        if (rest == 0 || job.run < 4 * group) { return false; }
        auto const run = job.steps.size();
        use(part_of(job, {run, 0, job.run - rest}, atom_));
        use(part_of(job, {run, job.run - rest, rest}, atom_));
        return true;
    }

    GridAtom atom_;
    Use push_;
};

void Maker::move_units(GridJob const& job) const {
    auto const bits = address_bits(job);
    auto const unit = power_in(bits.source | bits.target | job.run, kWidest);
    auto block = block_of(job, atom_, unit, GridWork::move);
    push(block);
}

/// Long runs that begin at different places within 16 bytes on the two sides: stores of 16 bytes all the same, but for
/// the ends, where words of the source would reach past the run.
void Maker::move_by_words(GridJob const& job) const {
    auto const source = reinterpret_cast<std::uintptr_t>(job.source);
    auto const target = reinterpret_cast<std::uintptr_t>(job.target);
    auto head = (kWidest - target % kWidest) % kWidest;
    auto const shift = (source + head) % kWord;
    if (head < shift) { head += kWidest; }
    auto tail = (job.run - head) % kWidest;
    if (shift != 0 && tail < kWord - shift) { tail += kWidest; }
    auto const run = job.steps.size();
    if (head > 0) { move_units(part_of(job, {run, 0, head}, atom_)); }
    if (tail > 0) { move_units(part_of(job, {run, job.run - tail, tail}, atom_)); }
    auto body = part_of(job, {run, head, job.run - head - tail}, atom_);
    if ((source + head) % (kWidest / 2) == 0) { return move_units(body); }
    body.source -= shift;
    auto block = block_of(body, atom_, kWidest, GridWork::move_shifted);
    block.shift = static_cast<std::uint8_t>(shift);
    push(block);
}

void Maker::move(GridJob const& job) const {
    if (transposes(job)) { return; }
    auto const bits = address_bits(job);
    auto const strides = stride_bits(job);
    bool const is_askew = power_in(bits.source | bits.target | job.run, kWidest) < kWidest / 2;
    if (is_askew && job.run >= kShiftedRun && (strides.source | strides.target) % kWidest == 0) {
        return move_by_words(job);
    }
    move_units(job);
}

/// Single elements with neighbours on both sides, but not the same ones.
bool Maker::transposes(GridJob job) const {
    auto const bytes = job.run;
    auto const bits = address_bits(job);
    if (bytes > 8 || power_in(bits.source | bits.target, kWidest) < bytes || !std::has_single_bit(bytes)) {
        return false;
    }
    auto const run = side_step(job, &GridStep::source_stride, bytes);
    auto const across = side_step(job, &GridStep::target_stride, bytes);
    if (run == job.steps.size() || across == job.steps.size() || run == across) { return false; }
    bring_in(job, across);
    bring_in(job, run - (across < run ? 1 : 0));
    auto block = block_of(job, atom_, bytes, GridWork::transpose);
    std::copy(block.loops.begin() + 1, block.loops.end(), block.loops.begin());  // the run is one element
    --block.loop_count;
    block.group = 1;
    block.element_step = block.loops[0].target_stride;
    block.target_access = static_cast<std::uint8_t>(bytes);
    push_(block, lay_tiles(block));
    return true;
}

/// Runs whose elements lie apart in the target, with neighbours from other runs.
bool Maker::transposes_converted(GridJob job) const {
    auto const bytes = static_cast<std::uint64_t>(bits(job.to)) / 8;
    auto const all = address_bits(job);
    auto const across = side_step(job, &GridStep::target_stride, bytes);
    bool const is_aligned = (all.target | job.target_step) % bytes == 0;
    if (!is_aligned || across == job.steps.size() || job.run * atom_.elements < kTransposedSide) { return false; }
    bring_in(job, across);
    auto block = block_of(job, atom_, 1, GridWork::convert_transpose);
    block.element_step = job.target_step;
    block.source_access = static_cast<std::uint8_t>(power_in(all.source | atom_.bytes, kWidest));
    block.target_access = static_cast<std::uint8_t>(bytes);
    set_scales(block, job);
    push_(block, lay_tiles(block));
    return true;
}

void Maker::convert_groups(GridJob const& job, std::uint64_t group) const {
    auto const bytes = static_cast<std::uint64_t>(bits(job.to)) / 8;
    auto const all = address_bits(job);
    bool const is_apart = job.target_step != bytes && job.run * atom_.elements > 1;
    auto block = block_of(job, atom_, group, GridWork::convert);
    auto const target = all.target | block.loops[0].target_stride;
    block.source_access = static_cast<std::uint8_t>(power_in(all.source | block.loops[0].source_stride, kWidest));
    block.target_access = static_cast<std::uint8_t>(is_apart ? power_in(target | job.target_step, bytes)
                                                             : power_in(all.target | block.group * bytes, kWidest));
    block.element_step = is_apart && block.group > 1 ? job.target_step : 0;
    set_scales(block, job);
    push(block);
}

void Maker::convert(GridJob const& job) const {
    auto const to_bytes = static_cast<std::uint64_t>(bits(job.to)) / 8;
    auto const from_bytes = std::max<std::uint64_t>(static_cast<std::uint64_t>(bits(job.from)) / 8, 1);
    bool const is_apart = job.target_step != to_bytes && job.run * atom_.elements > 1;
    if (is_apart && transposes_converted(job)) { return; }
    auto const elements = std::max(kWidest / std::max(to_bytes, from_bytes), atom_.elements);
    auto const group = elements / atom_.elements;
    if (is_apart) { return convert_groups(job, 1); }
    if (cut_off_rest(job, group, [this](GridJob const& part) { convert(part); })) { return; }
    convert_groups(job, job.run % group == 0 ? group : 1);
}

void Maker::digest_groups(GridJob const& job, std::uint64_t group, std::uint32_t result) const {
    auto block = block_of(job, atom_, group, GridWork::digest);
    block.source_access = static_cast<std::uint8_t>(power_in(address_bits(job).source | group * atom_.bytes, kWidest));
    block.unit_bytes = static_cast<std::uint8_t>(atom_.bytes);
    block.result = result;
    push(block);
}

void Maker::digest(GridJob const& job, std::uint32_t result) const {
    auto const group = kWidest / atom_.bytes;
    if (cut_off_rest(job, group, [&](GridJob const& part) { digest(part, result); })) { return; }
    digest_groups(job, job.run % group == 0 ? group : 1, result);
}

}  // namespace

FastDivisor fast_divisor(std::uint64_t divisor) {
    auto const shift = static_cast<std::uint32_t>(std::bit_width(divisor - 1));
    auto const magic = (std::uint64_t{1} << (31U + shift)) / divisor + 1;
    return {static_cast<std::uint32_t>(divisor), static_cast<std::uint32_t>(magic), shift};
}

void GridList::add(GridJob job) {
    bool const is_move = job.from == job.to;
    GridAtom atom;
    if (!is_move) {
        check_cast(job.from, job.to);
        atom.bytes = unit_bytes(job.from);
        atom.elements = atom.bytes * 8 / static_cast<std::uint64_t>(bits(job.from));
        atom.is_counted = job.scaling != nullptr;
        atom.most_elements = kMostScaled;
    }
    if (!atom.is_counted) {
        for (auto& step : job.steps) { step.element_stride = 0; }
    }
    Maker const maker(atom, [this](GridBlock const& block, std::uint64_t tiles) { push(block, tiles); });
    split(std::move(job), atom, [&](GridJob const& part) { is_move ? maker.move(part) : maker.convert(part); });
}

void GridList::add_digest(GridJob job, std::uint32_t unit_bytes, std::uint32_t result) {
    GridAtom const atom = {unit_bytes, 1, true};
    Maker const maker(atom, [this](GridBlock const& block, std::uint64_t tiles) { push(block, tiles); });
    split(std::move(job), atom, [&](GridJob const& part) { maker.digest(part, result); });
}

void GridList::clear() noexcept {
    blocks_.clear();
    tiles_ = 0;
}

void GridList::push(GridBlock block, std::uint64_t tiles) {
    block.first_tile = tiles_;
    tiles_ += static_cast<std::uint32_t>(tiles);
    blocks_.push_back(block);
}

}  // namespace shardwise
