// For the test of tools/check_layers.py: the lowest layer must not know the command line.
#pragma once
#include "cli/commands.h"
