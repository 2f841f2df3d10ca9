#include "convert/grid_split.hpp"

#include <algorithm>

#include "util/checked.hpp"

namespace shardwise {
namespace {

/// Runs are cut at multiples of this many atoms, so that what was aligned stays so.
constexpr std::uint64_t kRunCut = 4096;

/// The run as if it were a step.
GridStep run_step(GridJob const& job, GridAtom const& atom) noexcept {
    return {job.run, atom.bytes, atom.elements * job.target_step, atom.elements};
}

GridStep step_at(GridJob const& job, std::size_t step, GridAtom const& atom) noexcept {
    return step < job.steps.size() ? job.steps[step] : run_step(job, atom);
}

/// Whether the rounds of @p outer follow each other as those of @p inner do.
bool is_one_loop(GridStep const& outer, GridStep const& inner) noexcept {
    return outer.source_stride == inner.count * inner.source_stride &&
           outer.target_stride == inner.count * inner.target_stride &&
           outer.element_stride == inner.count * inner.element_stride;
}

void join_steps(GridJob& job) {
    auto& steps = job.steps;
    steps.erase(std::remove_if(steps.begin(), steps.end(), [](GridStep const& step) { return step.count == 1; }),
                steps.end());
    for (auto i = steps.size(); i-- > 1;) {
        auto const inner = steps[i];
        auto& outer = steps[i - 1];
        if (!is_one_loop(outer, inner)) { continue; }
        outer = {outer.count * inner.count, inner.source_stride, inner.target_stride, inner.element_stride};
        steps.erase(steps.begin() + static_cast<std::ptrdiff_t>(i));
    }
}

void simplify(GridJob& job, GridAtom const& atom) {
    join_steps(job);
    while (!job.steps.empty()) {
        auto const inner = job.steps.back();
        bool const is_cast = job.from != job.to;
        if (is_cast && job.run == 1 && atom.elements == 1) { job.target_step = inner.target_stride; }
        auto run = run_step(job, atom);
        if (!atom.is_counted) { run.element_stride = 0; }
        if (!is_one_loop(inner, run)) { return; }
        job.run *= inner.count;
        job.steps.pop_back();
    }
}

/// The longest step, or the one over most elements.
template <class Size>
std::size_t greatest_step(GridJob const& job, GridAtom const& atom, Size size) {
    std::size_t greatest = job.steps.size();
    for (std::size_t i = 0; i < job.steps.size(); ++i) {
        if (size(job.steps[i]) > size(step_at(job, greatest, atom))) { greatest = i; }
    }
    return greatest;
}

std::uint64_t element_span(GridJob const& job, GridAtom const& atom) noexcept {
    auto span = job.run * atom.elements;
    for (auto const& step : job.steps) { span += (step.count - 1) * step.element_stride; }
    return span;
}

void halve(GridJob const& job, std::size_t step, GridAtom const& atom, std::function<void(GridJob const&)> const& use) {
    auto const count = step_at(job, step, atom).count;
    auto half = count / 2;
    if (step == job.steps.size() && half >= kRunCut) { half = align_down(half, kRunCut); }
    split(part_of(job, {step, 0, half}, atom), atom, use);
    split(part_of(job, {step, half, count - half}, atom), atom, use);
}

}  // namespace

std::uint64_t atoms_in(GridJob const& job) noexcept {
    auto atoms = job.run;
    for (auto const& step : job.steps) { atoms *= step.count; }
    return atoms;
}

GridJob part_of(GridJob job, GridPart const& part, GridAtom const& atom) {
    auto const step = step_at(job, part.step, atom);
    job.source += part.first * step.source_stride;
    job.target += part.first * step.target_stride;
    job.element += part.first * step.element_stride;
    (part.step < job.steps.size() ? job.steps[part.step].count : job.run) = part.count;
    return job;
}

void split(GridJob job, GridAtom const& atom, std::function<void(GridJob const&)> const& use) {
    if (atoms_in(job) == 0) { return; }
    simplify(job, atom);
    if (job.steps.size() >= kGridLoops) {
        auto const fewest = std::min_element(job.steps.begin(), job.steps.end(),
                                             [](auto const& a, auto const& b) { return a.count < b.count; });
        auto const level = static_cast<std::size_t>(fewest - job.steps.begin());
        for (std::uint64_t i = 0; i < fewest->count; ++i) { split(part_of(job, {level, i, 1}, atom), atom, use); }
        return;
    }
    if (atom.is_counted && element_span(job, atom) > atom.most_elements) {
        auto const extent = [](GridStep const& step) { return step.count * step.element_stride; };
        return halve(job, greatest_step(job, atom, extent), atom, use);
    }
    if (atoms_in(job) > kMostAtoms) {
        auto const count = [](GridStep const& step) { return step.count; };
        return halve(job, greatest_step(job, atom, count), atom, use);
    }
    use(job);
}

}  // namespace shardwise
