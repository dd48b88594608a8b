// Command chart renders deploy/helm as `helm template` does, where there is no Helm: chart DIRECTORY VALUES.
//
// Helm itself takes 150 seconds of processor time to build, which a run of all tests cannot spare; this takes a
// tenth. It knows what our chart uses: templates with sprig, include, toYaml, fromYaml, fail, lookup (which finds
// nothing, as without a cluster), Files, Release, Chart, Capabilities. It checks no schema, sorts nothing, and reads
// no dependencies. Where a Helm is at hand a test holds that both give the same objects.
package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/gobwas/glob"
	"sigs.k8s.io/yaml"
)

type object = map[string]any

// files are those beside the templates, by path; their methods are what templates call.
type files map[string]string

func (f files) Get(name string) string { return f[name] }

func (f files) Glob(pattern string) files {
	wanted := glob.MustCompile(pattern, '/')
	found := files{}
	for name, text := range f {
		if wanted.Match(name) {
			found[name] = text
		}
	}
	return found
}

// versions is what an unknown cluster is believed to serve.
type versions struct{}

func (versions) Has(string) bool { return false }

func main() {
	if err := render(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func render(directory, valuesFile string) error {
	found, err := read(directory, "")
	if err != nil {
		return err
	}
	values, err := valuesOf(found["values.yaml"], valuesFile)
	if err != nil {
		return err
	}
	chart := object{}
	if err := yaml.Unmarshal([]byte(found["Chart.yaml"]), &chart); err != nil {
		return err
	}
	context := object{
		"Values":       values,
		"Files":        found,
		"Chart":        object{"AppVersion": chart["appVersion"], "Name": chart["name"]},
		"Release":      object{"Name": "drover", "Namespace": "drover-system", "Service": "Helm", "IsUpgrade": false},
		"Capabilities": object{"APIVersions": versions{}},
	}
	return execute(found, context)
}

func execute(found files, context object) error {
	root := template.New("chart").Option("missingkey=zero")
	root.Funcs(functions(root))
	names := slices.Sorted(maps.Keys(found.Glob("templates/*.{yaml,tpl}")))
	for _, name := range names {
		if _, err := root.New(name).Parse(found[name]); err != nil {
			return err
		}
	}
	for _, name := range names {
		if filepath.Ext(name) == ".tpl" {
			continue
		}
		fmt.Printf("---\n# %s\n", name)
		if err := root.ExecuteTemplate(os.Stdout, name, context); err != nil {
			return err
		}
		fmt.Println()
	}
	return nil
}

func functions(root *template.Template) template.FuncMap {
	all := sprig.TxtFuncMap()
	all["include"] = func(name string, data any) (string, error) {
		text := strings.Builder{}
		err := root.ExecuteTemplate(&text, name, data)
		return text.String(), err
	}
	all["toYaml"] = func(value any) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	all["fromYaml"] = func(text string) (object, error) {
		value := object{}
		return value, yaml.Unmarshal([]byte(text), &value)
	}
	all["lookup"] = func(_, _, _, _ string) object { return object{} }
	all["fail"] = func(words string) (string, error) { return "", errors.New(words) }
	return all
}

// valuesOf lays the values of a file over the chart's own.
func valuesOf(own, file string) (object, error) {
	values, given := object{}, object{}
	if err := yaml.Unmarshal([]byte(own), &values); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, &given); err != nil {
		return nil, err
	}
	return over(values, given), nil
}

func over(values, given object) object {
	for key, value := range given {
		below, nested := values[key].(object)
		if above, ok := value.(object); ok && nested {
			value = over(below, above)
		}
		values[key] = value
	}
	return values
}

// read follows links, as Helm does; .helmignore says only that kinds are not packed twice.
func read(directory, below string) (files, error) {
	entries, err := os.ReadDir(filepath.Join(directory, below))
	if err != nil {
		return nil, err
	}
	found := files{}
	for _, entry := range entries {
		name := filepath.Join(below, entry.Name())
		place := filepath.Join(directory, name)
		info, err := os.Stat(place)
		if err != nil {
			return nil, err
		}
		if name == "files/manifests/crds" {
			continue
		}
		if info.IsDir() {
			more, err := read(directory, name)
			if err != nil {
				return nil, err
			}
			maps.Copy(found, more)
			continue
		}
		text, err := os.ReadFile(place)
		if err != nil {
			return nil, err
		}
		found[name] = string(text)
	}
	return found, nil
}
