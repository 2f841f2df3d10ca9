/// @file
/// How cuFile is set up before its driver is opened, and what it is found to be set to after that.
#pragma once

namespace shardwise {

struct CufileLibrary;

/// Says what the driver is to be opened with: the compatible mode off, reads of up to 16 MiB in one piece, a log in
/// TMPDIR. What the user says wins: a variable CUFILE_... stays as it is, and so does what a configuration file sets
/// (CUFILE_ENV_PATH_JSON, else /etc/cufile.json), but for the compatible mode. The toolkit's own file allows that, and
/// what is called GPUDirect Storage then would not be.
///
/// Settings are for the next open only, whether it succeeds or not.
void stage_settings(CufileLibrary const& cufile);

/// True if cuFile, now open, may copy through the host instead of failing.
bool is_compatible(CufileLibrary const& cufile);

/// Makes cuFile count which way reads go. False if it cannot.
bool start_counting(CufileLibrary const& cufile);

}  // namespace shardwise
