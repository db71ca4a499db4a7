// The heavy door to torch for sources: all operations. Never include it from a header.
#pragma once
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/generated/variable_factories.h>
#include <ATen/core/grad_mode.h>

#include "core/tensor.h"
