#include "support/plan_interpreter.hpp"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include <fmt/format.h>

#include "convert/cast.hpp"

namespace shardwise::test {
namespace {

using Bytes = std::vector<std::byte>;

/// A slot knows which of its bytes were read.
using Slot = std::vector<std::optional<std::byte>>;

[[noreturn]] void contradiction(std::string const& text) {
    throw std::runtime_error(text);
}

/// Blocks of a list, taken out by hand so that a range beyond the end is noticed.
std::vector<CopyBlock> part_of(std::vector<CopyBlock> const& blocks, BlockRange range) {
    std::vector<CopyBlock> part;
    for (std::uint32_t i = 0; i < range.count; ++i) { part.push_back(blocks.at(range.first + i)); }
    return part;
}

void put(RankMemory& memory, std::uint32_t tensor, std::uint64_t at, std::byte value) {
    memory.tensors.at(tensor).at(at) = value;
    ++memory.writes.at(tensor).at(at);
}

/// Puts a run of a block in place, cast element by element if the block says so.
void put_run(RankMemory& memory, CopyBlock const& block, std::uint64_t target, Bytes const& run) {
    if (block.cast.is_move()) {
        for (std::uint64_t i = 0; i < run.size(); ++i) { put(memory, block.tensor, target + i, run[i]); }
        return;
    }
    auto const from = block.cast.from;
    auto const to = block.cast.to;
    auto const element_bytes = static_cast<std::uint64_t>(bits(to)) / 8;
    Bytes converted(run.size() * 8 / static_cast<std::uint64_t>(bits(from)) * element_bytes);
    cast_reference(from, run, to, converted);
    for (std::uint64_t i = 0; i < converted.size(); ++i) {
        auto const element = target + i / element_bytes * block.cast.target_step;
        put(memory, block.tensor, element + i % element_bytes, converted[i]);
    }
}

void read_directly(Plan const& plan, std::span<Bytes const> files, RankMemory& memory) {
    for (auto const& read : plan.direct) {
        auto const& range = read.range;
        if (range.size_bytes > plan.request_bytes) { contradiction("a direct read is longer than a request may be"); }
        for (auto const& block : part_of(plan.direct_blocks, read.blocks)) {
            for (auto const& [source, target, bytes] : runs_of(block)) {
                if (source + bytes > range.size_bytes) { contradiction("a block takes bytes from beyond its read"); }
                Bytes run;
                for (std::uint64_t i = 0; i < bytes; ++i) {
                    run.push_back(files[range.file].at(range.begin + source + i));
                }
                put_run(memory, block, target, run);
            }
        }
    }
}

/// Fills one rank's slot.
Slot read_stripe(Plan const& plan, Wave const& wave, std::span<Bytes const> files) {
    Slot slot(plan.slot_bytes);
    for (auto const& [range, slot_offset] : wave.reads) {
        if (range.begin % kSlotAlignment != slot_offset % kSlotAlignment) {
            contradiction("a read lands where direct I/O cannot put it");
        }
        if (range.size_bytes > plan.request_bytes) { contradiction("a staged read is longer than a request may be"); }
        for (std::uint64_t i = 0; i < range.size_bytes; ++i) {
            if (slot.at(slot_offset + i)) { contradiction("two reads land in one place"); }
            slot[slot_offset + i] = files[range.file].at(range.begin + i);
        }
    }
    return slot;
}

Bytes packed(std::vector<CopyBlock> const& blocks, Slot const& slot) {
    Bytes message;
    for (auto const& block : blocks) {
        for (auto const& run : runs_of(block)) {
            for (std::uint64_t i = 0; i < run.bytes; ++i) { message.push_back(slot.at(run.source + i).value()); }
        }
    }
    return message;
}

void unpack(std::vector<CopyBlock> const& blocks, Bytes const& message, RankMemory& memory) {
    std::size_t next = 0;
    for (auto const& block : blocks) {
        for (auto const& run : runs_of(block)) {
            Bytes bytes;
            for (std::uint64_t i = 0; i < run.bytes; ++i) { bytes.push_back(message.at(next++)); }
            put_run(memory, block, run.target, bytes);
        }
    }
    if (next != message.size()) { contradiction("a message is longer than what is taken out of it"); }
}

Delivery const* find_peer(std::vector<Delivery> const& deliveries, std::int64_t peer) {
    auto const found =
        std::find_if(deliveries.begin(), deliveries.end(), [&](Delivery const& d) { return d.peer == peer; });
    return found == deliveries.end() ? nullptr : &*found;
}

void check_order(std::vector<Delivery> const& deliveries) {
    for (std::size_t i = 1; i < deliveries.size(); ++i) {
        if (deliveries[i - 1].peer >= deliveries[i].peer) {
            contradiction("deliveries are not in the order of their peers");
        }
    }
}

/// Takes what @p plan's rank receives in a wave from the slots of all ranks.
void receive(std::span<Plan const> plans, std::size_t rank, std::size_t index, std::vector<Slot> const& slots,
             RankMemory& memory) {
    auto const& plan = plans[rank];
    // The sends of a piece are listed by the receiver in the first replica.
    auto const in_copy = plan.mesh.fsdp * plan.mesh.tp;
    auto const in_stage = plan.mesh.dp * in_copy;
    auto const first = plan.rank / in_stage * in_stage + plan.rank % in_copy;
    check_order(plan.waves[index].receives);
    for (auto const& delivery : plan.waves[index].receives) {
        auto const& sender = plans[delivery.peer];
        auto const blocks = part_of(plan.waves[index].blocks, delivery.blocks);
        auto const looked_up = packed(blocks, slots[delivery.peer]);
        if (delivery.seat != sender.waves[index].seat) { contradiction("a receive looks into another rank's seat"); }
        if (looked_up.size() != delivery.bytes) { contradiction("a receive says another size than its blocks have"); }
        if (delivery.peer != rank && sender.waves[index].is_shared) {
            if (sender.waves[index].stripe_bytes != delivery.wire_bytes) {
                contradiction("a broadcast is not as long as its receiver takes it for");
            }
            for (auto const& block : blocks) {
                for (auto const& run : runs_of(block)) {
                    if (run.source + run.bytes > delivery.wire_bytes) { contradiction("a broadcast is too short"); }
                }
            }
        } else if (delivery.peer != rank) {
            auto const* const sent = find_peer(sender.waves[index].sends, first);
            if (sent == nullptr) {
                contradiction(fmt::format("rank {} waits in wave {} for rank {}, which sends nothing", rank, index,
                                          delivery.peer));
            }
            auto const message = packed(part_of(sender.waves[index].blocks, sent->blocks), slots[delivery.peer]);
            if (sent->bytes != message.size() || message != looked_up) {
                contradiction("a message is not what its receiver takes it for");
            }
        }
        unpack(blocks, looked_up, memory);
    }
}

void check_every_send_is_received(std::span<Plan const> plans, std::size_t rank, std::size_t index) {
    auto const& mesh = plans[rank].mesh;
    auto const& wave = plans[rank].waves[index];
    check_order(wave.sends);
    for (std::size_t other = 0; wave.is_shared && other < plans.size(); ++other) {
        if (!plans[other].waves[index].is_shared) { contradiction("a wave is shared on some ranks only"); }
        bool const is_expected =
            find_peer(plans[other].waves[index].receives, static_cast<std::int64_t>(rank)) != nullptr;
        if (is_expected != (wave.stripe_bytes > 0)) {
            contradiction(fmt::format("rank {} does not know what rank {} broadcasts in wave {}", other, rank, index));
        }
    }
    if (wave.is_shared && !wave.sends.empty()) { contradiction("a rank sends what it broadcasts"); }
    for (auto const& send : plans[rank].waves[index].sends) {
        for (std::int64_t replica = 0; replica < mesh.dp; ++replica) {
            auto const receiver = static_cast<std::size_t>(send.peer + replica * mesh.fsdp * mesh.tp);
            if (receiver == rank) { continue; }
            if (find_peer(plans[receiver].waves[index].receives, static_cast<std::int64_t>(rank)) == nullptr) {
                contradiction(
                    fmt::format("rank {} sends in wave {} to rank {}, which expects nothing", rank, index, receiver));
            }
        }
    }
}

}  // namespace

std::vector<Run> runs_of(CopyBlock const& block) {
    std::vector<Run> runs = {{block.source, block.target, block.run_bytes}};
    for (auto const& loop : block.loops) {
        std::vector<Run> more;
        for (auto const& run : runs) {
            for (std::uint64_t i = 0; i < loop.count; ++i) {
                more.push_back({run.source + i * loop.source_stride, run.target + i * loop.target_stride, run.bytes});
            }
        }
        runs = std::move(more);
    }
    return runs;
}

std::vector<RankMemory> interpret(std::span<Plan const> plans, std::span<Bytes const> files) {
    std::vector<RankMemory> memories(plans.size());
    for (std::size_t rank = 0; rank < plans.size(); ++rank) {
        if (plans[rank].rank != static_cast<std::int64_t>(rank)) {
            contradiction("plans are not in the order of ranks");
        }
        if (plans[rank].waves.size() != plans[0].waves.size()) {
            contradiction("ranks have different numbers of waves");
        }
        for (auto const& tensor : plans[rank].tensors) {
            memories[rank].tensors.emplace_back(tensor.size_bytes);
            memories[rank].writes.emplace_back(tensor.size_bytes);
        }
        read_directly(plans[rank], files, memories[rank]);
    }
    for (std::size_t index = 0; index < plans[0].waves.size(); ++index) {
        std::vector<Slot> slots;
        for (auto const& plan : plans) { slots.push_back(read_stripe(plan, plan.waves[index], files)); }
        for (std::size_t rank = 0; rank < plans.size(); ++rank) {
            receive(plans, rank, index, slots, memories[rank]);
            check_every_send_is_received(plans, rank, index);
        }
    }
    return memories;
}

}  // namespace shardwise::test
