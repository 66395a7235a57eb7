// SPDX-License-Identifier: Apache-2.0

package record

// WireType is a type of records that come out of the ring buffer.
type WireType struct {
	Type   uint16 // enum record_type in headers/record.h
	Struct string // the C struct of such a record
}

// WireTypes lists them. A recording describes its records by it.
func WireTypes() []WireType {
	return []WireType{
		{typeNetnsSwitch, "netns_switch_record"},
		{typeThreadClone, "thread_clone_record"},
		{typeThreadExit, "thread_exit_record"},
		{typeThreadSeen, "thread_seen_record"},
		{typeProcessSeen, "process_record"},
		{typeProcessExec, "process_record"},
		{typeProcessExit, "process_record"},
		{typeStrandedCall, "stranded_call_record"},
		{typeDevWait, "dev_wait_record"},
		{typeDevFree, "dev_wait_record"},
		{typeConsoleWait, "console_wait_record"},
		{typeModuleLoad, "module_load_record"},
		{typeCsumRewrite, "csum_rewrite_record"},
		{typeCsumCorrupt, "csum_corrupt_record"},
		{typeDstFailure, "dst_failure_record"},
		{typeDstCrossing, "dst_crossing_record"},
		{typeHolder, "holder_record"},
		{typeNetnsBirth, "netns_birth_record"},
		{typeNetnsAlive, "netns_alive_record"},
		{typeNetnsList, "netns_list_record"},
		{typeNetnsTask, "netns_task_record"},
		{typeNetnsFile, "netns_file_record"},
	}
}

// WireSize is how many bytes a record of a type has when it has all the fields that
// this version knows; not ok for an unknown type. One of an older version has fewer.
func WireSize(kind uint16) (bytes int, ok bool) {
	body, ok := bodySize[kind]
	return headerSize + body, ok
}

// Layout describes a type of records of the ring buffer as the C compiler laid it
// out, for readers that do not know it.
type Layout struct {
	Type   uint16  `json:"type"`
	Struct string  `json:"struct"`
	Size   int     `json:"size"` // bytes, the header included
	Fields []Field `json:"fields"`
}

// Field is one field of a Layout: its path, where it begins, and what it is: u8 to
// u64, s8 to s64, char, and with [N] behind it N of them.
type Field struct {
	Name   string `json:"name"`
	Offset int    `json:"offset"`
	Type   string `json:"type"`
}
