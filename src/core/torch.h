// The heavy door to torch for sources: all tensor operations. Never include it from a header.
#pragma once
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "core/tensor.h"
