-- Reads JSON strictly: what no two readers may take for two different requests is refused with a sentence. The first
-- half of the check of requests; router_requests.lua follows in the same chunk. `kaon_jobs/runtime/v2.py` says the
-- same in Python; a test holds the two together. Time and memory are linear in the body.

local byte, char, concat, find, format, sub =
  string.byte, string.char, table.concat, string.find, string.format, string.sub

local MAX_DEPTH = 32
-- A request of 1,024 nested texts holds 2,100 values. The bound keeps a body of commas from filling the memory.
local MAX_VALUES = 16384
local MAX_NUMBER, MAX_EXPONENT, HUGE = 1e308, 307, math.huge
local MAX_NAME = 1024
local SHOWN_CHARACTERS = 64

-- A value is {kind = ...}: null, true, false; number with its text; string with the bytes it lies between; array with
-- items 1..n; object with fields and their names in order. Texts are checked and not copied.

local function refuse(...)
  error({ sentence = format(...) }, 0)
end

local function unexpected(body, at, wanted)
  if at > #body then
    refuse("The body is not JSON: it ends before %s. Send it whole.", wanted)
  end
  refuse("The body is not JSON: expected %s at byte %d. Send valid JSON.", wanted, at)
end

-- The number of bytes of the character whose first byte is `b` >= 128, as RFC 3629 allows them.
local function character_length(body, at, b)
  local second = byte(body, at + 1) or 0
  if b >= 0xC2 and b <= 0xDF then
    if second >= 0x80 and second <= 0xBF then return 2 end
  elseif b >= 0xE0 and b <= 0xEF then
    local least, most = b == 0xE0 and 0xA0 or 0x80, b == 0xED and 0x9F or 0xBF
    local third = byte(body, at + 2) or 0
    if second >= least and second <= most and third >= 0x80 and third <= 0xBF then return 3 end
  elseif b >= 0xF0 and b <= 0xF4 then
    local least, most = b == 0xF0 and 0x90 or 0x80, b == 0xF4 and 0x8F or 0xBF
    local third, fourth = byte(body, at + 2) or 0, byte(body, at + 3) or 0
    if second >= least and second <= most and third >= 0x80 and third <= 0xBF and fourth >= 0x80 and fourth <= 0xBF then
      return 4
    end
  end
  refuse("The body is not UTF-8: byte %d. Send it in UTF-8.", at)
end

local HEX = {}
for i = 0, 15 do
  HEX[byte(format("%x", i))], HEX[byte(format("%X", i))] = i, i
end

-- The code unit of the escape \uXXXX that begins at `at`, or nil.
local function code_unit(body, at)
  local slash, u, a, b, c, d = byte(body, at, at + 5)
  if slash ~= 92 or u ~= 117 then return nil end
  a, b, c, d = HEX[a], HEX[b], HEX[c], HEX[d or 0]
  return a and b and c and d and a * 4096 + b * 256 + c * 16 + d
end

local ESCAPES = {
  [34] = '"', [47] = "/", [92] = "\\", [98] = "\b", [102] = "\f", [110] = "\n", [114] = "\r", [116] = "\t",
}

-- The number of bytes of the escape that begins at `at`.
local function escape_length(body, at)
  local b = byte(body, at + 1)
  if b ~= 117 then
    if ESCAPES[b] then return 2 end
    unexpected(body, at + 1, "an escape of JSON")
  end
  local unit = code_unit(body, at)
  if not unit then unexpected(body, at + 2, "an escape of four hexadecimal digits") end
  if unit < 0xD800 or unit > 0xDFFF then return 6 end
  local low = unit < 0xDC00 and code_unit(body, at + 6)
  if low and low >= 0xDC00 and low <= 0xDFFF then return 12 end
  refuse("The body is not Unicode: byte %d begins half of a surrogate pair. Send both halves, or U+FFFD.", at)
end

local SPECIAL = '[%c"\\\128-\255]'

-- `at` is the byte after the opening quote.
local function read_string(body, at)
  local from, escaped = at, false
  while true do
    local b = byte(body, at)
    if b == 34 then
      return { kind = "string", body = body, from = from, to = at - 1, escaped = escaped }, at + 1
    elseif b == nil then
      unexpected(body, at, "the end of a string")
    elseif b >= 128 then
      at = at + character_length(body, at, b)
    elseif b == 92 then
      escaped = true
      at = at + escape_length(body, at)
    elseif b < 32 then
      unexpected(body, at, "an escape in place of a control character")
    else
      -- Most of a long string is plain: the library looks for the next byte that is not.
      at = find(body, SPECIAL, at + 1) or #body + 1
    end
  end
end

-- RapidJSON, Triton's reader, stops at a large exponent even of 0, and at a long run of digits even before e-100.
local function read_number(body, at)
  local to = select(2, find(body, "^-?[1-9]%d*", at)) or select(2, find(body, "^-?0", at))
  if not to then unexpected(body, at, "a value") end
  local large = to - at > MAX_EXPONENT
  if byte(body, to + 1) == 46 then
    local fraction = select(2, find(body, "^%d+", to + 2))
    if not fraction then unexpected(body, to + 2, "a digit") end
    to = fraction
  end
  if find(body, "^[eE]", to + 1) then
    local exponent = select(2, find(body, "^[+-]?%d+", to + 2))
    if not exponent then unexpected(body, to + 2, "an exponent") end
    -- LuaJIT gives nil for an exponent of seven digits.
    large = large or byte(body, to + 2) ~= 45 and (tonumber(sub(body, to + 2, exponent)) or HUGE) > MAX_EXPONENT
    to = exponent
  end
  local text = sub(body, at, to)
  local value = tonumber(text) or 0
  if large or not (value < MAX_NUMBER and value > -MAX_NUMBER) then
    refuse("A number in the body is too large. Send numbers below 1e308.")
  end
  return { kind = "number", text = text }, to + 1
end

local CONSTANTS = { [110] = "null", [116] = "true", [102] = "false" }
local function utf8_of(code)
  if code < 0x80 then return char(code) end
  if code < 0x800 then return char(0xC0 + (code - code % 64) / 64, 0x80 + code % 64) end
  local last, rest = 0x80 + code % 64, (code - code % 64) / 64
  if code < 0x10000 then return char(0xE0 + (rest - rest % 64) / 64, 0x80 + rest % 64, last) end
  local upper = (rest - rest % 64) / 64
  return char(0xF0 + (upper - upper % 64) / 64, 0x80 + upper % 64, 0x80 + rest % 64, last)
end

-- The text of a string, or its first `limit` characters; the second result says whether that is all.
local function text_of(node, limit)
  local body, at, parts = node.body, node.from, {}
  if not node.escaped and not limit then return sub(body, at, node.to), true end
  while at <= node.to do
    if limit and #parts == limit then return concat(parts), false end
    local b = byte(body, at)
    local length = 1
    if b == 92 and node.escaped then
      length = escape_length(body, at)
      if length == 2 then
        parts[#parts + 1] = ESCAPES[byte(body, at + 1)]
      else
        local code = code_unit(body, at)
        if length == 12 then code = 0x10000 + (code - 0xD800) * 0x400 + code_unit(body, at + 6) - 0xDC00 end
        parts[#parts + 1] = utf8_of(code)
      end
    else
      if b >= 128 then length = character_length(body, at, b) end
      parts[#parts + 1] = sub(body, at, at + length - 1)
    end
    at = at + length
  end
  return concat(parts), true
end

local read_value

local function skip_space(body, at)
  local b = byte(body, at)
  while b == 32 or b == 10 or b == 13 or b == 9 do
    at = at + 1
    b = byte(body, at)
  end
  return at
end

local function read_array(reader, at, depth)
  local body, node = reader.body, { kind = "array", n = 0 }
  at = skip_space(body, at)
  if byte(body, at) == 93 then return node, at + 1 end
  while true do
    node.n = node.n + 1
    node[node.n], at = read_value(reader, at, depth)
    at = skip_space(body, at)
    local b = byte(body, at)
    if b == 93 then return node, at + 1 end
    if b ~= 44 then unexpected(body, at, "',' or ']'") end
    at = skip_space(body, at + 1)
  end
end

local function read_object(reader, at, depth)
  local body, node = reader.body, { kind = "object", names = {}, fields = {} }
  at = skip_space(body, at)
  if byte(body, at) == 125 then return node, at + 1 end
  while true do
    if byte(body, at) ~= 34 then unexpected(body, at, "a field's name in quotes") end
    local key, after = read_string(body, at + 1)
    local name, whole = text_of(key, MAX_NAME)
    if not whole then
      refuse("A field's name in the body is longer than %d characters. Send a shorter one.", MAX_NAME)
    end
    if node.fields[name] then
      refuse("The body has the field '%s' twice in one object. Send it once.", (text_of(key, SHOWN_CHARACTERS)))
    end
    at = skip_space(body, after)
    if byte(body, at) ~= 58 then unexpected(body, at, "':'") end
    node.names[#node.names + 1] = name
    node.fields[name], at = read_value(reader, skip_space(body, at + 1), depth)
    at = skip_space(body, at)
    local b = byte(body, at)
    if b == 125 then return node, at + 1 end
    if b ~= 44 then unexpected(body, at, "',' or '}'") end
    at = skip_space(body, at + 1)
  end
end

function read_value(reader, at, depth)
  local body = reader.body
  reader.values = reader.values + 1
  if reader.values > MAX_VALUES then
    refuse("The body holds more than %d values. Send fewer rows in one request.", MAX_VALUES)
  end
  local b = byte(body, at)
  if b == 34 then return read_string(body, at + 1) end
  if b == 91 or b == 123 then
    if depth == MAX_DEPTH then refuse("The body nests deeper than %d levels. Send it flat.", MAX_DEPTH) end
    return (b == 91 and read_array or read_object)(reader, at + 1, depth + 1)
  end
  local constant = CONSTANTS[b]
  if constant then
    if sub(body, at, at + #constant - 1) ~= constant then unexpected(body, at, "a value") end
    return { kind = constant }, at + #constant
  end
  return read_number(body, at)
end

local function decode(body)
  if find(body, "^\239\187\191") then
    refuse("The body begins with a byte order mark. Send JSON in UTF-8 without it.")
  end
  local at = skip_space(body, 1)
  if at > #body then refuse("The body is empty. Send a JSON object with the field inputs.") end
  local value, after = read_value({ body = body, values = 0 }, at, 0)
  after = skip_space(body, after)
  if after <= #body then unexpected(body, after, "the end of the body") end
  return value
end
