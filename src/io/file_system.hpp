/// @file
/// What kind of file system a file lies on.
#pragma once

#include <string>
#include <string_view>

#include <sys/types.h>

namespace shardwise {

struct FileSystem {
    std::string name;         ///< as mount(8) has it, else its number. Example: "ext4", "fuse.juicefs", "type 0x1234"
    bool is_network = false;  ///< servers of a network hold its files
    bool is_memory = false;   ///< its pages are the storage
};

/// Of the open file @p fd.
/// @param path for the error.
/// @throws Error io.
FileSystem file_system_of(int fd, std::string const& path);

/// Programs in user space (FUSE) bring most often what servers of a network hold: object stores, sshfs, JuiceFS. Known
/// ones that do not, such as those of container images, and drives (`fuseblk`) are told by their names.
/// @param type as mountinfo has it. Example: "fuse.sshfs"
FileSystem fuse_file_system(std::string_view type);

/// The type of the file system that @p mountinfo, a text like /proc/self/mountinfo, has under a device number; empty if
/// none has it.
std::string_view mounted_type(std::string_view mountinfo, dev_t device);

}  // namespace shardwise
