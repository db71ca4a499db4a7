// The heaviest door to torch: for the few sources that define operations with their own backward pass.
#pragma once
#include <torch/csrc/autograd/custom_function.h>

#include "core/torch.h"
