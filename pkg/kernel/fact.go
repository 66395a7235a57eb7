// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Fact is something learnt about the kernel: what, how, or why not.
type Fact[T any] struct {
	// Value is meaningful only when Err is nil.
	Value T
	// Source says how it was learnt: a file, a system call, a feature test.
	Source string
	// Err says why it could not be learnt; nil when it was.
	Err error
}

// factJSON is the stable form: value is null when there is an error.
type factJSON[T any] struct {
	Value  *T     `json:"value"`
	Source string `json:"source"`
	Error  string `json:"error,omitempty"`
}

// MarshalJSON writes {"value":…,"source":…} or, with a null value, also
// "error".
func (f Fact[T]) MarshalJSON() ([]byte, error) {
	out := factJSON[T]{Source: f.Source}
	if f.Err != nil {
		out.Error = f.Err.Error()
	} else {
		out.Value = &f.Value
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote. Of an error only its text
// returns.
func (f *Fact[T]) UnmarshalJSON(data []byte) error {
	var in factJSON[T]
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*f = Fact[T]{Source: in.Source}
	switch {
	case in.Value != nil:
		f.Value = *in.Value
	case in.Error != "":
		f.Err = errors.New(in.Error)
	default:
		f.Err = errors.New("neither value nor error recorded")
	}
	return nil
}

// Text returns the value as one line, or "unknown: " and the reason.
func (f Fact[T]) Text() string {
	if f.Err != nil {
		return "unknown: " + f.Err.Error()
	}
	if yes, ok := any(f.Value).(bool); ok {
		if yes {
			return "yes"
		}
		return "no"
	}
	return fmt.Sprint(f.Value)
}

// learn runs one reader, unless ctx has ended.
func learn[T any](ctx context.Context, source string, read func() (T, error)) Fact[T] {
	if err := ctx.Err(); err != nil {
		return Fact[T]{Source: source, Err: err}
	}
	v, err := read()
	if err != nil {
		return Fact[T]{Source: source, Err: err}
	}
	return Fact[T]{Value: v, Source: source}
}
