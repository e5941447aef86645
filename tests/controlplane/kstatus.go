package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// kstatusCommand tells what tools that wait for objects make of them.
const kstatusCommand = "kstatus"

// runKstatus reads objects as JSON, one after the other, and answers each with one line: what kstatus computes of it.
// It answers at once, so that a caller may keep the process and go on asking.
func runKstatus(in io.Reader, out io.Writer) error {
	type answer struct {
		Status  status.Status `json:"status"`
		Message string        `json:"message"`
	}
	objects := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(out)
	for number := 1; ; number++ {
		var object unstructured.Unstructured
		err := objects.Decode(&object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("object %d: %w", number, err)
		}
		result, err := status.Compute(&object)
		if err != nil {
			return fmt.Errorf("object %d, %s %s/%s: %w", number, object.GetKind(), object.GetNamespace(), object.GetName(), err)
		}
		if err := answers.Encode(answer{result.Status, result.Message}); err != nil {
			return err
		}
	}
}
