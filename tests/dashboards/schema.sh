#!/bin/sh
# JSON schemas of a dashboard and of the panels' options, made from the types of Grafana 13 into the folder $1. Those of
# geomap cannot be made: two of its types have one name.
set -eu
mkdir -p "$1" && cd "$1"
grafana=13.2.3
[ -f "dashboard-$grafana.json" ] && exit 0
command -v npm >/dev/null 2>&1 || { echo "tests: npm is not installed; boards are not held against Grafana's schema (apt-get install npm)"; exit 0; }
npm install --silent --no-audit --no-fund --ignore-scripts --no-save "@grafana/schema@$grafana" ts-json-schema-generator@2.4.0
types=node_modules/@grafana/schema/dist/types/raw
echo '{"compilerOptions":{"skipLibCheck":true,"moduleResolution":"node","module":"esnext","target":"es2020"}}' > tsconfig.json
schema_of() { npx --no-install ts-json-schema-generator --path "$types/$1" --type "$2" --tsconfig tsconfig.json --no-type-check --minify -o "$3"; }
for panel in stat table timeseries statushistory; do
    for type in Options FieldConfig; do
        grep -q "interface $type\b" "$types/composable/$panel/panelcfg/x/types.gen.d.ts" || continue
        schema_of "composable/$panel/panelcfg/x/types.gen.d.ts" "$type" "$panel-$type.json"
    done
done
schema_of dashboard/x/types.gen.d.ts Dashboard dashboard.json.new
rm -rf node_modules tsconfig.json
mv dashboard.json.new "dashboard-$grafana.json"
