// Where the datasets of a rank's file lie. They are contiguous and unconverted, so the bytes can be read without HDF5.
#include <exception>
#include <filesystem>

#include "sink/hdf5.hpp"
#include "sink/rank_files.hpp"

namespace shardwise {
namespace {

std::string text_attribute(hid_t object, char const* name) {
    AttributeId const attribute(check(hdf5().H5Aopen(object, name, H5P_DEFAULT), name));
    TypeId const type(check(hdf5().H5Aget_type(attribute.get()), name));
    std::string text(hdf5().H5Tget_size(type.get()), '\0');
    check(hdf5().H5Aread(attribute.get(), type.get(), text.data()), name);
    return text.substr(0, text.find('\0'));
}

std::vector<std::int64_t> numbers_attribute(hid_t object, char const* name) {
    AttributeId const attribute(check(hdf5().H5Aopen(object, name, H5P_DEFAULT), name));
    SpaceId const space(check(hdf5().H5Aget_space(attribute.get()), name));
    auto const count = check(hdf5().H5Sget_simple_extent_npoints(space.get()), name);
    std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
    if (!numbers.empty()) {
        check(hdf5().H5Aread(attribute.get(), hdf5().id("H5T_NATIVE_INT64_g"), numbers.data()), name);
    }
    return numbers;
}

TensorRecord record_of(hid_t dataset, std::string const& name) {
    TensorRecord record;
    record.name = name;
    auto const dtype = parse_dtype(text_attribute(dataset, "dtype"));
    auto const extents = numbers_attribute(dataset, "local_shape");
    if (!dtype) { throw Error(Errc::input, fmt::format("{}: its attribute dtype names no type", name)); }
    record.dtype = *dtype;
    record.shape = Shape(extents);
    record.size_bytes = hdf5().H5Dget_storage_size(dataset);
    auto const begin = hdf5().H5Dget_offset(dataset);
    record.begin = begin == HADDR_UNDEF ? 0 : begin;
    auto const elements = static_cast<std::uint64_t>(record.shape.num_elements());
    auto const expected = elements * static_cast<std::uint64_t>(bits(record.dtype)) / 8;
    if (record.size_bytes != expected) {
        throw Error(Errc::input, fmt::format("{}: {} B are stored, {} {} has {} B", name, record.size_bytes,
                                             to_string(record.dtype), to_string(record.shape), expected));
    }
    return record;
}

/// What a visit of all links carries; HDF5 is C and must not see exceptions.
struct Visit {
    std::vector<TensorRecord> records;
    std::exception_ptr failure;
};

herr_t look_at(hid_t file, char const* name, H5L_info_t const*, void* data) {
    auto& visit = *static_cast<Visit*>(data);
    try {
        ObjectId const object(check(hdf5().H5Oopen(file, name, H5P_DEFAULT), name));
        if (hdf5().H5Iget_type(object.get()) == H5I_DATASET) { visit.records.push_back(record_of(object.get(), name)); }
        return 0;
    } catch (...) {
        visit.failure = std::current_exception();
        return -1;
    }
}

}  // namespace

FileHeader read_hdf5_rank_file(std::string const& path) {
    hdf5().H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    try {
        FileId const file(check(hdf5().H5Fopen(path.c_str(), kReadOnly, H5P_DEFAULT), "open"));
        Visit visit;
        auto const result = hdf5().H5Lvisit(file.get(), H5_INDEX_NAME, H5_ITER_NATIVE, look_at, &visit);
        if (visit.failure) { std::rethrow_exception(visit.failure); }
        check(result, "list the datasets");
        auto const place = numbers_attribute(file.get(), "rank_world");
        if (place.size() != 2) { throw Error(Errc::input, "its attribute rank_world is no pair of numbers"); }
        FileHeader header;
        header.file.path = path;
        header.file.size_bytes = std::filesystem::file_size(path);
        header.file.metadata = {{kRankNote, std::to_string(place[0])},
                                {kWorldNote, std::to_string(place[1])},
                                {kSourceNote, text_attribute(file.get(), "source_digest")}};
        header.tensors = std::move(visit.records);
        return header;
    } catch (Error const& error) { throw error.while_(fmt::format("read {}", path)); }
}

}  // namespace shardwise
