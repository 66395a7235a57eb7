// SPDX-License-Identifier: Apache-2.0

package main

// static int in_c(int x) { return x + 1; }
import "C"

var fromC = C.in_c(1)
