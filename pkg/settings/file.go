// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"errors"
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// most is how big a file may be; one of all settings has a kilobyte.
const most = 1 << 20

// parse reads settings: one mapping of names to values or lists of values. It returns
// what could be read beside the mistakes.
func parse(path string, text []byte) ([]setting, error) {
	if len(text) > most {
		return nil, &Error{path + ":1", fmt.Errorf("the file has %d bytes, at most %d are read", len(text), most)}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, syntaxError(path, err)
	}
	if len(doc.Content) == 0 { // empty, or comments only
		return nil, nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, at(path, root, errors.New("a file of settings has lines of the form NAME: VALUE"))
	}
	var out []setting
	var errs []error
	lines := make(map[string]int)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		m := setting{name: key.Value, place: fmt.Sprintf("%s:%d", path, key.Line)}
		switch {
		case key.Kind != yaml.ScalarNode:
			errs = append(errs, at(path, key, errors.New("the name of a setting is one word")))
			continue
		case lines[key.Value] != 0:
			errs = append(errs, at(path, key, fmt.Errorf("%s was set in line %d already", key.Value, lines[key.Value])))
			continue
		}
		lines[key.Value] = key.Line
		if err := m.take(path, value); err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, m)
	}
	return out, errors.Join(errs...)
}

// take reads a value. An alias is refused: it can make a small file a big one.
func (m *setting) take(path string, value *yaml.Node) error {
	switch value.Kind {
	case yaml.ScalarNode:
		if value.Tag == "!!null" {
			return at(path, value, fmt.Errorf("%s has no value; write \"\" for an empty one", m.name))
		}
		m.values = []string{value.Value}
		return nil
	case yaml.SequenceNode:
		m.list = true
		m.values = []string{}
		for _, v := range value.Content {
			if v.Kind != yaml.ScalarNode {
				return at(path, v, fmt.Errorf("%s is a list of words", m.name))
			}
			m.values = append(m.values, v.Value)
		}
		return nil
	}
	return at(path, value, fmt.Errorf("%s is a value or a list of values", m.name))
}

func at(path string, n *yaml.Node, err error) error {
	return &Error{fmt.Sprintf("%s:%d", path, n.Line), err}
}

// syntaxError puts the line that the parser tells to where lines are told here.
func syntaxError(path string, err error) error {
	if m := regexp.MustCompile(`^yaml: line (\d+): (.*)`).FindStringSubmatch(err.Error()); m != nil {
		return &Error{path + ":" + m[1], errors.New(m[2])}
	}
	return &Error{path + ":1", err}
}
