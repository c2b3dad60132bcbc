# shellcheck shell=bash
# Options of a recipe, in Kaldi's manner but without eval. Source this file, declare, then parse:
#
#   declare_option njob 64 "number of jobs" integer
#   declare_option validate true "check the lists first"
#   parse_options "$@"
#
# Each option is then a variable of its name. Accepted: --njob 8, --njob=8, - and _ alike, --config FILE (lines of
# name=value, read, never sourced), --help. A kind is "integer", "count" (0 or more), "positive" (1 or more), a list of
# values such as "auto|true|false", or empty; a default of true or false makes the kind "true|false". Values may contain
# anything; only declared names can be set.
# $option_operands, if set before, describes the positional arguments in --help.
# Exit code 2: unknown option (with the nearest name), missing value, value of the wrong kind, stray argument.

option_names=()
declare -A option_default option_help option_kind option_given=()
declare -A option_default_text # what --help prints instead of the default, for some options

config_file="" config_names=,

# declare_option NAME DEFAULT HELP [KIND]
declare_option() {
  local name=$1 kind=${4:-}
  case $2 in true | false) kind=${kind:-true|false} ;; esac
  option_names+=("$name")
  option_default[$name]=$2 option_help[$name]=$3 option_kind[$name]=$kind
  printf -v "$name" '%s' "$2"
}

# parse_options "$@": sets the declared variables; flags override --config, wherever it appears. The variables
# config_file and config_names then hold the last such file and the options that have its values. --stage alone may be
# past the default of --stop_stage: that stage is run.
parse_options() {
  local -a names=() values=()
  local argument name i
  while [ $# -gt 0 ]; do
    argument=$1
    shift
    case $argument in
      --help | -h) _options_help; exit 0 ;;
      --?*) ;;
      *) _options_fail "unexpected argument '$argument'" "write options as --name value" ;;
    esac
    name=${argument#--}
    if [[ $name == *=* ]]; then
      values+=("${name#*=}")
      name=${name%%=*}
    elif [ $# -gt 0 ] && ! _is_option "$1"; then
      values+=("$1")
      shift
    else
      _known_option "${name//-/_}" "--$name"
      _options_fail "option --$name has no value" "write --$name VALUE (or --$name=VALUE if the value looks like an option)"
    fi
    name=${name//-/_}
    [ "$name" = config ] || _known_option "$name" "${argument%%=*}"
    names+=("$name")
  done
  for i in "${!names[@]}"; do
    if [ "${names[i]}" = config ]; then _read_config "${values[i]}"; fi
  done
  for i in "${!names[@]}"; do
    if [ "${names[i]}" != config ]; then
      _set_option "${names[i]}" "${values[i]}" "--${names[i]}"
      config_names=${config_names//,${names[i]},/,}
    fi
  done
  # shellcheck disable=SC2154  # they are set above, by name
  if _declared stage && _declared stop_stage && [ "$stage" -gt "$stop_stage" ]; then
    if [ -z "${option_given[stop_stage]:-}" ]; then # a later stage alone
      stop_stage=$stage
      return
    fi
    _options_fail "no stage from $stage to $stop_stage" "raise --stop_stage, or lower --stage"
  fi
}

# _read_config FILE: blank lines, # comments, name=value; one pair of quotes around a value is removed.
_read_config() {
  local file=$1 line name value number=0
  [ -f "$file" ] && [ -r "$file" ] || _options_fail "no configuration file '$file'" "give a file of name=value lines"
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    line=${line%$'\r'}
    if [ $number = 1 ]; then line=${line#$'\xef\xbb\xbf'}; fi # a byte order mark
    line=${line#"${line%%[![:space:]]*}"}
    line=${line%"${line##*[![:space:]]}"}
    case $line in '' | '#'*) continue ;; esac
    [[ $line == *=* ]] || _options_fail "$file:$number: '$line' is not name=value" "write one name=value per line"
    name=${line%%=*} value=${line#*=}
    name=${name#--}
    name=${name%"${name##*[![:space:]]}"}
    name=${name//-/_}
    value=${value#"${value%%[![:space:]]*}"}
    if [[ $value =~ ^\"([^\"]*)\"[[:space:]]*(#.*)?$ || $value =~ ^\'([^\']*)\'[[:space:]]*(#.*)?$ ]]; then
      value=${BASH_REMATCH[1]}
    elif [[ $value =~ ^(.*[^[:space:]])?[[:space:]]+#.*$ ]]; then
      value=${BASH_REMATCH[1]}
    fi
    _known_option "$name" "$file:$number: $name"
    _set_option "$name" "$value" "$file:$number: $name"
    # shellcheck disable=SC2034  # read by finetune.sh
    config_file=$file config_names=${config_names//,$name,/,}$name,
  done < "$file"
}

# _set_option NAME VALUE AS_WRITTEN
_set_option() {
  local name=$1 value=$2 kind=${option_kind[$1]}
  case $kind in
    '') ;;
    integer)
      [[ $value =~ ^-?[0-9]{1,9}$ || ( -z $value && -z ${option_default[$name]} ) ]] ||
        _options_fail "$3: '$value' is not a whole number" "give e.g. ${option_default[$name]:-4}" ;;
    count)
      [[ $value =~ ^[0-9]{1,9}$ || ( -z $value && -z ${option_default[$name]} ) ]] ||
        _options_fail "$3: '$value' is not a whole number of 0 or more" "give e.g. ${option_default[$name]:-4}" ;;
    positive)
      [[ $value =~ ^0*[1-9][0-9]{0,8}$ || ( -z $value && -z ${option_default[$name]} ) ]] ||
        _options_fail "$3: '$value' is not a whole number of 1 or more" "give e.g. ${option_default[$name]:-4}" ;;
    *)
      [[ ( "|$kind|" == *"|$value|"* && -n $value && $value != *'|'* ) || ( -z $value && -z ${option_default[$name]} ) ]] ||
        _options_fail "$3: '$value' is not one of ${kind//|/, }" "give e.g. ${kind%%|*}" ;;
  esac
  printf -v "$name" '%s' "$value"
  option_given[$name]=yes
}

# _is_option ARGUMENT: true if it looks like one of the declared options, and so is not a value.
_is_option() {
  local name=${1#--}
  [ "$name" != "$1" ] || return 1
  name=${name%%=*}
  name=${name//-/_}
  [ "$name" = config ] || [ "$name" = help ] || _declared "$name"
}

_declared() { [[ $1 =~ ^[a-zA-Z][a-zA-Z0-9_]*$ ]] && [ -n "${option_default[$1]+declared}" ]; }

# _known_option NAME AS_WRITTEN: ends the script with the nearest name if NAME was not declared.
_known_option() {
  local candidate distance nearest="" best=99
  if _declared "$1"; then return; fi
  for candidate in "${option_names[@]}" config help; do
    distance=$(_edit_distance "$1" "$candidate")
    if [ "$distance" -lt "$best" ]; then best=$distance nearest=$candidate; fi
  done
  if [ "$best" -le $((${#1} / 2)) ]; then
    _options_fail "unknown option $2" "did you mean --$nearest? All options: ${0##*/} --help"
  fi
  _options_fail "unknown option $2" "all options: ${0##*/} --help"
}

# _edit_distance A B: Levenshtein distance, for suggestions.
_edit_distance() {
  local a=${1:0:40} b=${2:0:40} i j above diagonal cost
  local -a row=()
  for ((j = 0; j <= ${#b}; j++)); do row[j]=$j; done
  for ((i = 1; i <= ${#a}; i++)); do
    diagonal=${row[0]} row[0]=$i
    for ((j = 1; j <= ${#b}; j++)); do
      above=${row[j]}
      cost=1
      if [ "${a:i-1:1}" = "${b:j-1:1}" ]; then cost=0; fi
      row[j]=$((diagonal + cost))
      if ((above + 1 < row[j])); then row[j]=$((above + 1)); fi
      if ((row[j - 1] + 1 < row[j])); then row[j]=$((row[j - 1] + 1)); fi
      diagonal=$above
    done
  done
  printf '%s\n' "${row[${#b}]}"
}

_options_help() {
  local name kind
  printf 'usage: %s [--name value] ...%s\n\n' "${0##*/}" "${option_operands:+ $option_operands}"
  for name in "${option_names[@]}"; do
    kind=${option_kind[$name]}
    printf '  --%-18s %s%s (default: %s)\n' "$name" "${option_help[$name]}" "${kind:+ [$kind]}" \
      "${option_default_text[$name]:-${option_default[$name]:-none}}"
  done
  printf '  --%-18s %s\n' config "file of name=value lines; flags override it" help "this text"
}

_options_fail() {
  printf '%s: %s\n  do: %s\n' "${0##*/}" "$1" "$2" >&2
  exit 2
}
