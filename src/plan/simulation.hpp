/// @file
/// How long a load would take on machines that are not at hand: the plans of all ranks against a profile.
#pragma once

#include <cstdint>
#include <vector>

#include <shardwise/plan.hpp>
#include <shardwise/profile.hpp>

namespace shardwise {

/// Seconds and bytes of a predicted load. What a node does at the same time as something else is not added to it.
struct SimulatedLoad {
    std::int64_t ranks = 0;
    std::int64_t nodes = 0;
    double seconds = 0;                     ///< the longest of storage, copies, network and waves
    double storage_seconds = 0;             ///< of the node, or of the file system, that takes longest
    double copy_seconds = 0;                ///< of the node that takes longest
    double network_seconds = 0;             ///< of the node that takes longest: bytes that go in or out
    double wave_seconds = 0;  ///< of rounds of messages, agreements and copies in turn, as many waves at once as may be
    std::uint64_t storage_bytes = 0;        ///< that all nodes read
    std::uint64_t node_storage_bytes = 0;   ///< that the node which reads most reads
    std::uint64_t node_sent_bytes = 0;      ///< to other nodes, by the node that sends most
    std::uint64_t node_received_bytes = 0;  ///< from other nodes, by the node that receives most
    std::uint64_t waves = 0;
    std::uint64_t played_waves = 0;  ///< of these, evenly chosen ones whose messages were played through
};

/// Takes in plans of one replica; the others do the same, and ranks take turns in reading.
class Simulation {
   public:
    /// @param ranks_per_node of the machine that is predicted; not those that the profile was taken with.
    Simulation(MachineProfile profile, std::int64_t ranks_per_node)
        : profile_(std::move(profile)), ranks_per_node_(ranks_per_node) {}

    /// @param plan of a rank of the first replica of any stage; all of them are to be added, in any order.
    void add(Plan const& plan);

    SimulatedLoad result() const;

   private:
    /// What one rank does, and its like in every replica.
    struct RankWork {
        void add_direct(Plan const& plan);

        std::int64_t rank;
        double cached_bytes;  ///< copied out of the page cache, calls and gaps counted as bytes
        std::uint64_t direct_bytes;
        std::uint64_t direct_requests;
        std::uint64_t wave_bytes;  ///< taken out of stripes
    };
    /// A piece of a wave on its way from who read it to one rank and its like.
    struct Piece {
        std::uint32_t wave;
        std::uint32_t root;
        std::uint32_t leader;
        bool is_shared;
        std::uint64_t bytes;
    };
    struct NodeTraffic;

    std::int64_t node_of(std::int64_t rank) const noexcept { return rank / ranks_per_node_; }
    void add_storage_and_copies(SimulatedLoad& load) const;
    void add_messages(SimulatedLoad& load) const;

    MachineProfile profile_;
    std::int64_t ranks_per_node_;
    Mesh mesh_;
    std::uint64_t request_bytes_ = 1;
    std::uint32_t exchanges_at_once_ = 1;
    std::uint64_t shared_read_bytes_ = 0;  ///< read once by all ranks together
    double cached_share_ = 0;              ///< of these, out of the page cache
    std::uint64_t waves_ = 0;
    std::vector<RankWork> work_;
    std::vector<Piece> pieces_;
};

}  // namespace shardwise
