#!/bin/sh
# Writes tests/data/api-methods.txt: every gRPC method of the served API, read from the descriptors that are linked into
# temporal-server (server 1.32.1, api 1.63.5); and tests/data/request-fields.txt: where their requests carry what the gateway
# reads (namespace, task token, workflow id), as `path dotted.name number.number`, `[]` for a repeated field. Run it when the served version changes; the table's test then names what is new.
set -eu
out=$(cd "$(dirname "$0")/../.." && pwd)/tests/data/api-methods.txt
server=${TEMPORAL_SERVER_VERSION:-v1.32.1}
fields=$(dirname "$out")/request-fields.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
modules=$(go env GOMODCACHE)
cp "$modules/go.temporal.io/server@$server/go.sum" go.sum
sed -e 's|^module .*|module api-methods|' "$modules/go.temporal.io/server@$server/go.mod" > go.mod
chmod u+w go.mod go.sum
printf 'require go.temporal.io/server %s\n' "$server" >> go.mod
cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"

	_ "go.temporal.io/api/operatorservice/v1"
	_ "go.temporal.io/api/workflowservice/v1"
	_ "go.temporal.io/server/api/adminservice/v1"
	_ "google.golang.org/grpc/health/grpc_health_v1"
	_ "google.golang.org/grpc/reflection/grpc_reflection_v1"
	_ "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// served names the services temporal-server registers on its frontend port; others are linked in by dependencies.
var served = map[protoreflect.FullName]bool{
	"temporal.api.workflowservice.v1.WorkflowService":  true,
	"temporal.api.operatorservice.v1.OperatorService":  true,
	"temporal.server.api.adminservice.v1.AdminService": true,
	"grpc.health.v1.Health":                            true,
	"grpc.reflection.v1.ServerReflection":              true,
	"grpc.reflection.v1alpha.ServerReflection":         true,
}

// read lists what the gateway looks for in a request; a name that a request does not have is left out.
var read = []string{
	"namespace", "namespace_id", "id", "task_token", "spec.target.worker.namespace",
	"operations.start_workflow.namespace", "operations.update_workflow.namespace", "operations.start_workflow.workflow_id",
	"commands.request_cancel_external_workflow_execution_command_attributes.namespace",
	"commands.start_child_workflow_execution_command_attributes.namespace",
	"commands.signal_external_workflow_execution_command_attributes.namespace",
	"workflow_id", "execution.workflow_id", "workflow_execution.workflow_id",
}

func field(message protoreflect.MessageDescriptor, name string) string {
	var names, numbers []string
	for _, part := range strings.Split(name, ".") {
		if message == nil {
			return ""
		}
		f := message.Fields().ByName(protoreflect.Name(part))
		if f == nil {
			return ""
		}
		if f.IsList() {
			part += "[]"
		}
		names = append(names, part)
		numbers = append(numbers, fmt.Sprint(f.Number()))
		message = f.Message()
	}
	if message != nil {
		return ""
	}
	return strings.Join(names, ".") + " " + strings.Join(numbers, ".")
}

func main() {
	var lines, fields []string
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := 0; i < file.Services().Len(); i++ {
			service := file.Services().Get(i)
			if !served[service.FullName()] {
				continue
			}
			for j := 0; j < service.Methods().Len(); j++ {
				method := service.Methods().Get(j)
				path := fmt.Sprintf("/%s/%s", service.FullName(), method.Name())
				lines = append(lines, path)
				for _, name := range read {
					if found := field(method.Input(), name); found != "" {
						fields = append(fields, path+" "+found)
					}
				}
			}
		}
		return true
	})
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
	sort.Strings(fields)
	if err := os.WriteFile(os.Args[1], []byte(strings.Join(fields, "\n")+"\n"), 0o644); err != nil {
		panic(err)
	}
}
GO
GOFLAGS=-mod=mod GONOSUMDB='*' go run . "$fields.new" > "$out.new"
mv "$out.new" "$out"
mv "$fields.new" "$fields"
wc -l "$out" "$fields"
