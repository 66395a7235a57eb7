/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two ways to read a field of the kernel. A program whose parameters have the
 * kernel's types (fentry, fexit, tp_btf, iter) reads in place, by one load; raw_tp
 * and kprobe programs see addresses only and call a helper, 70 instructions. What
 * both do is written once and told as a constant which way is open to it.
 */
#ifndef NETNS_TRACE_READ_H
#define NETNS_TRACE_READ_H

#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define IN_PLACE true
#define PROBED false

#define READ(in_place, object, field) ((in_place) ? (object)->field : BPF_CORE_READ(object, field))

/*
 * The task that runs, with its type: since 5.11 (3ca1032ab7ab). Before that, only
 * its address is known.
 */
#define HAS_TYPED_CURRENT \
	bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)

#endif
