#include <fmt/format.h>

#include "io/gds_reader.hpp"

namespace shardwise {

std::string to_text(GdsPaths const& paths) {
    if (!paths.is_known) { return "path unverified"; }
    return fmt::format("{} by peer-to-peer DMA, {} by nvidia-fs, {} through the host, {} unaligned", paths.p2p_reads,
                       paths.nvfs_reads, paths.posix_reads, paths.unaligned_reads);
}

}  // namespace shardwise
