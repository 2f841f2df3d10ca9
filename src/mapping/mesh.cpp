#include <fmt/format.h>

#include <shardwise/error.hpp>
#include <shardwise/mesh.hpp>

namespace shardwise {

char const* to_string(MeshAxis axis) noexcept {
    switch (axis) {
        case MeshAxis::tp:
            return "tp";
        case MeshAxis::fsdp:
            return "fsdp";
        case MeshAxis::ep:
            return "ep";
        case MeshAxis::efsdp:
            return "efsdp";
    }
    return "unknown";
}

std::int64_t Mesh::size(MeshAxis axis) const noexcept {
    switch (axis) {
        case MeshAxis::tp:
            return tp;
        case MeshAxis::fsdp:
            return fsdp;
        case MeshAxis::ep:
            return expert_ranks();
        case MeshAxis::efsdp:
            return copy_ranks() / expert_ranks();
    }
    return 1;
}

std::int64_t Mesh::stride(MeshAxis axis) const noexcept {
    switch (axis) {
        case MeshAxis::tp:
        case MeshAxis::ep:
            return 1;
        case MeshAxis::fsdp:
            return tp;
        case MeshAxis::efsdp:
            return expert_ranks();
    }
    return 1;
}

void check(Mesh const& mesh) {
    auto const refuse = [](std::string text) { throw Error(Errc::usage, std::move(text)); };
    constexpr std::int64_t kMostRanks = std::int64_t{1} << 31U;
    std::int64_t ranks = 1;
    for (auto const& [name, size] :
         {std::pair("pp", mesh.pp), std::pair("dp", mesh.dp), std::pair("fsdp", mesh.fsdp), std::pair("tp", mesh.tp)}) {
        if (size < 1) { refuse(fmt::format("--{} {}: expected a number from 1 up", name, size)); }
        if (size > kMostRanks / ranks) {
            refuse(fmt::format("--pp {} x --dp {} x --fsdp {} x --tp {}: more ranks than can be counted", mesh.pp,
                               mesh.dp, mesh.fsdp, mesh.tp));
        }
        ranks *= size;
    }
    auto const ep = mesh.expert_ranks();
    if (ep < 1) { refuse(fmt::format("--ep {}: expected a number from 1 up", ep)); }
    if (ep % mesh.tp != 0) { refuse(fmt::format("--ep {} is no multiple of --tp {}", ep, mesh.tp)); }
    if (mesh.copy_ranks() % ep != 0) {
        refuse(fmt::format("--ep {} does not divide the {} ranks of --fsdp {} x --tp {}", ep, mesh.copy_ranks(),
                           mesh.fsdp, mesh.tp));
    }
}

std::string to_string(Mesh const& mesh) {
    auto text = fmt::format("tp {}, dp {}", mesh.tp, mesh.dp);
    if (mesh.fsdp > 1) { text += fmt::format(", fsdp {}", mesh.fsdp); }
    if (mesh.pp > 1) { text += fmt::format(", pp {}", mesh.pp); }
    if (mesh.expert_ranks() != mesh.tp) { text += fmt::format(", ep {}", mesh.expert_ranks()); }
    return text;
}

}  // namespace shardwise
