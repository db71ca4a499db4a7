// Weights that are mapped from their files count as the process's memory once they have been read, though the system could take
// their pages away and read them again. Where memory matters most, they are given up after each use: what stays resident is then
// only what is being read, and the files wait in the system's page cache for as long as it has room.
#pragma once
#include <cstddef>

#include "core/tensor.h"

namespace graft {

// Whoever maps a file read-only says so, and when it ends.
void file_mapped(const void* begin, size_t bytes);
void file_unmapped(const void* begin);

void let_go_of_mapped_pages(bool on);  // off at first
bool lets_go_of_mapped_pages();
// Gives up the pages of a tensor that lies in a mapped file; does nothing for other tensors, or when switched off.
void let_go(const Tensor& weight);

}  // namespace graft
