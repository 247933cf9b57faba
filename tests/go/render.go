// Renders Go templates with text/template itself: reads [{"template": …, "data": …}, …], writes the texts.
// The options are those with which Ollama parses a template.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type task struct {
	Template string         `json:"template"`
	Data     map[string]any `json:"data"`
}

func main() {
	var tasks []task
	if err := json.NewDecoder(os.Stdin).Decode(&tasks); err != nil {
		panic(err)
	}
	texts := make([]string, len(tasks))
	for i, t := range tasks {
		parsed, err := template.New("").Option("missingkey=zero").Parse(t.Template)
		if err != nil {
			texts[i] = "cannot parse: " + err.Error()
			continue
		}
		var b strings.Builder
		if err := parsed.Execute(&b, t.Data); err != nil {
			texts[i] = "cannot run: " + err.Error()
			continue
		}
		texts[i] = b.String()
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(texts); err != nil {
		panic(err)
	}
}
