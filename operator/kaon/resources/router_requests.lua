-- Refuses a wrong V2 inference request in the router, before a server is asked. Envoy runs it on the path .../infer
-- alone, after router_json.lua, whose functions it uses. Reads a request and writes nothing but two of its headers.

local function is(node, text)
  return node ~= nil and node.kind == "string" and text_of(node, SHOWN_CHARACTERS) == text
end

-- How a sentence names what was found.
local function found(node)
  if node == nil then return "missing" end
  if node.kind == "string" then
    local text, whole = text_of(node, SHOWN_CHARACTERS)
    return format("'%s'%s", text, whole and "" or " and more")
  end
  if node.kind == "number" then
    return #node.text <= SHOWN_CHARACTERS and "the number " .. node.text or "a long number"
  end
  return ({ array = "an array", object = "an object" })[node.kind] or node.kind
end

local function wrong(where, node, wanted)
  refuse("%s is %s, expected %s.", where, found(node), wanted)
end

local SCALARS = { string = true, number = true, ["true"] = true, ["false"] = true }
-- What Triton would act upon and TorchServe would not.
local UNSUPPORTED = {
  binary_data_size = true, classification = true, priority = true, sequence_end = true, sequence_id = true,
  sequence_start = true, shared_memory_byte_size = true, shared_memory_offset = true, shared_memory_region = true,
  timeout = true,
}
local BINARY = { binary_data = true, binary_data_output = true }

-- The beginning of a field's name.
local function shown(name)
  return (text_of({ body = name, from = 1, to = #name, escaped = false }, SHOWN_CHARACTERS))
end

local function check_parameters(where, node)
  if node == nil then return end
  if node.kind ~= "object" then wrong(where, node, "an object") end
  for _, name in ipairs(node.names) do
    local value = node.fields[name]
    -- Triton reads names and ids up to the first zero.
    if find(name, "%z") then
      refuse("The name of a parameter in %s holds the character U+0000. Leave it out.", where)
    end
    if UNSUPPORTED[name] or find(name, "^triton_") then
      refuse("%s.%s is not supported by this model. Leave it out.", where, shown(name))
    end
    if BINARY[name] then
      if value.kind ~= "false" then
        wrong(where .. "." .. name, value, "false: this model answers in JSON alone")
      end
    elseif not SCALARS[value.kind] then
      wrong(format("The value of '%s' in %s", shown(name), where), value, "a string, a number, true or false")
    end
  end
end

-- Model -> what its requests hold, as the route's filter_context tells it: `inputs` and `outputs` are names, `datatypes`
-- and `kinds` those of each input, `isTable` whether an input is a column that may be left out, `noun` what an example is
-- called. A kind is FP64, BYTES, or what a string holds: datetime, a point in time; image, a file in base64. `varies`
-- tells inputs of which a row has any number of values.

local MAX_FLOAT = 3.4e38 -- models read numbers of 32 bits
local SHOWN_NAMES = 32
local WANTED = { FP64 = "a number", BYTES = "a string", datetime = "a string", image = "a string" }
local MISSING_STRING = '. Send "" where it is missing'
local MISSING_VALUE = {
  FP64 = ". Where it is missing, send its row in a request without this input",
  BYTES = MISSING_STRING, datetime = MISSING_STRING,
}
local MONTHS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local function is_hours(hours, minutes)
  return tonumber(hours) <= 23 and tonumber(minutes) <= 59
end

-- Whether a text is a point in time in ISO 8601: a date that there is, and a time if any.
local function is_moment(text)
  local year, month, day, rest = text:match("^(%d%d%d%d)-(%d%d)-(%d%d)(.*)$")
  if not year then return false end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  local most = MONTHS[month]
  if month == 2 and year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) then most = 29 end
  if year < 1 or not most or day < 1 or day > most then return false end
  if rest == "" then return true end
  local hours, minutes, more = rest:match("^[T ](%d%d):(%d%d)(.*)$")
  if not hours or not is_hours(hours, minutes) then return false end
  local seconds, after = more:match("^:(%d%d)(.*)$")
  if seconds then
    if tonumber(seconds) > 59 then return false end
    local fraction, zone = after:match("^%.(%d+)(.*)$")
    if fraction and #fraction > 9 then return false end
    more = fraction and zone or after
  end
  if more == "" or more == "Z" then return true end
  hours, minutes = more:match("^[+-](%d%d):(%d%d)$")
  return hours ~= nil and is_hours(hours, minutes)
end

-- Whether a string is base64 with its padding. Some writers of JSON escape +, / and =.
local function is_base64(node)
  local text = sub(node.body, node.from, node.to)
  if node.escaped then
    text = text:gsub("\\/", "/"):gsub("\\u00(%x%x)", function(digits) return char(tonumber(digits, 16)) end)
  end
  return #text % 4 == 0 and find(text, "^[A-Za-z0-9+/]+=?=?$") ~= nil
end

-- A name from the route as a sentence quotes it.
local function quoted(name)
  return found({ kind = "string", body = name, from = 1, to = #name, escaped = false })
end

local function fits(kind, node)
  if kind == "FP64" then
    if node.kind ~= "number" then return false end
    local value = tonumber(node.text) or 0
    return value <= MAX_FLOAT and value >= -MAX_FLOAT
  end
  if node.kind ~= "string" then return false end
  if kind == "image" then return is_base64(node) end
  return kind ~= "datetime" or node.to < node.from or is_moment((text_of(node, SHOWN_CHARACTERS)))
end

-- Says why a value does not fit.
local function refuse_value(where, name, kind, node, is_table)
  if node.kind ~= (kind == "FP64" and "number" or "string") then
    wrong(where, node, WANTED[kind] .. (node.kind == "null" and is_table and MISSING_VALUE[kind] or ""))
  end
  if kind == "FP64" then wrong(where, node, "a number between -3.4e38 and 3.4e38") end
  if kind == "image" then
    refuse("%s is no base64. Send '%s' as the base64 text of a JPEG or PNG file, with its padding and without line breaks.",
      where, shown(name))
  end
  refuse("%s is no point in time. Send '%s' in ISO 8601, such as 2020-01-31T14:05:00Z, or \"\" where it is missing.",
    where, shown(name))
end

-- The number of values, which may lie flat or each in an array.
local function count_values(where, name, kind, data, is_table)
  if data == nil or data.kind ~= "array" then wrong(where, data, format("an array of %ss", sub(WANTED[kind], 3))) end
  local count = 0
  for i = 1, data.n do
    local item = data[i]
    if item.kind == "array" then
      for j = 1, item.n do
        if not fits(kind, item[j]) then
          refuse_value(format("%s[%d][%d]", where, i - 1, j - 1), name, kind, item[j], is_table)
        end
      end
      count = count + item.n
    else
      if not fits(kind, item) then refuse_value(format("%s[%d]", where, i - 1), name, kind, item, is_table) end
      count = count + 1
    end
  end
  return count
end

-- A shape as it was sent when it is a short array of whole numbers, for comparison and for a sentence.
local function shape_of(node)
  if node == nil or node.kind ~= "array" or node.n > 8 then return found(node) end
  local parts = {}
  for i = 1, node.n do
    local text = node[i].kind == "number" and node[i].text or ""
    if #text > 20 or not find(text, "^-?%d+$") then return "an array that holds " .. found(node[i]) end
    parts[i] = text
  end
  return "[" .. concat(parts, ",") .. "]"
end

-- Of an input that varies: its rows and the values of each, by the shape.
local function sides_of(where, shape, count)
  local rows, wide = shape:match("^%[([1-9]%d*),([1-9]%d*)%]$")
  if not rows or #rows > 9 or #wide > 9 or tonumber(rows) * tonumber(wide) ~= count then
    refuse("%s.shape is %s, expected [rows,values of a row] for %d values.", where, shape, count)
  end
  return tonumber(rows), tonumber(wide)
end

local function one_of(names)
  if #names == 1 then return quoted(names[1]) end
  local told = {}
  for i = 1, math.min(#names, SHOWN_NAMES) do told[i] = quoted(names[i]) end
  local more = #names > SHOWN_NAMES and format(" and %d more", #names - SHOWN_NAMES) or ""
  return "one of " .. concat(told, ", ") .. more
end

-- The name of a tensor where it is one of `places`, else nil.
local function name_in(node, places)
  if node == nil or node.kind ~= "string" then return nil end
  local name, whole = text_of(node, MAX_NAME)
  return whole and places[name] and name or nil
end

local function places_of(names)
  local places = {}
  for i, name in ipairs(names) do places[name] = i end
  return places
end

local function check_inputs(inputs, model)
  local names, is_table = model.inputs, model.isTable
  if inputs == nil or inputs.kind ~= "array" then
    wrong("inputs", inputs, "an array of " .. (is_table and "tensors, one a column" or
      format("one tensor named '%s'", shown(names[1]))))
  end
  if inputs.n < 1 or inputs.n > #names then
    local most = #names == 1 and "1" or format("1 to %d", #names)
    refuse("inputs has %d tensors, expected %s, %s.", inputs.n, most,
      is_table and "one a column" or format("named '%s'", shown(names[1])))
  end
  local places, seen, first = places_of(names), {}, nil
  for i = 1, inputs.n do
    local where, tensor = format("inputs[%d]", i - 1), inputs[i]
    if tensor.kind ~= "object" then wrong(where, tensor, "an object") end
    local fields = tensor.fields
    local name = name_in(fields.name, places)
    if not name then wrong(where .. ".name", fields.name, one_of(names)) end
    if seen[name] then refuse("%s.name is %s once more. Send each input once.", where, quoted(name)) end
    seen[name] = true
    local datatype = model.datatypes[places[name]]
    if not is(fields.datatype, datatype) then wrong(where .. ".datatype", fields.datatype, "'" .. datatype .. "'") end
    check_parameters(where .. ".parameters", fields.parameters)
    local count = count_values(where .. ".data", name, model.kinds[places[name]], fields.data, is_table)
    local shape, wide = shape_of(fields.shape), 1
    if model.varies and model.varies[places[name]] then count, wide = sides_of(where, shape, count) end
    local noun = model.noun .. (count == 1 and "" or "s")
    if count < 1 or count > model.maxBatchSize then
      refuse("%s.data has %d %s, expected 1 to %d in one request.", where, count, noun, model.maxBatchSize)
    end
    local wanted = format("[%d,%d]", count, wide)
    if shape ~= wanted then
      refuse("%s.shape is %s, expected %s for %d %s.", where, shape, wanted, count, noun)
    end
    first = first or count
    if count ~= first then
      refuse("%s.data has %d %s and inputs[0].data %d. Send all rows in each.", where, count, noun, first)
    end
  end
end

local function check_outputs(outputs, names)
  if outputs == nil then return end
  if outputs.kind ~= "array" then wrong("outputs", outputs, "an array") end
  local places, seen = places_of(names), {}
  for i = 1, outputs.n do
    local where, output = format("outputs[%d]", i - 1), outputs[i]
    if output.kind ~= "object" then wrong(where, output, "an object") end
    local name = name_in(output.fields.name, places)
    if not name then wrong(where .. ".name", output.fields.name, "'" .. concat(names, "' or '") .. "'") end
    if seen[name] then refuse("%s.name is '%s' once more. Ask for each output once.", where, name) end
    seen[name] = true
    check_parameters(where .. ".parameters", output.fields.parameters)
  end
end

local function check(body, model)
  local request = decode(body)
  if request.kind ~= "object" then
    refuse("The body is %s, expected an object with the field inputs.", found(request))
  end
  local fields = request.fields
  if fields.id ~= nil then
    if fields.id.kind ~= "string" then wrong("id", fields.id, "a string") end
    local id, whole = text_of(fields.id, MAX_NAME)
    if not whole then refuse("id is longer than %d characters. Send a shorter one.", MAX_NAME) end
    if find(id, "%z") then refuse("id holds the character U+0000. Leave it out.") end
  end
  check_parameters("parameters", fields.parameters)
  check_inputs(fields.inputs, model)
  check_outputs(fields.outputs, model.outputs)
end

-- nil for a good request, else the sentence that says what is wrong with it.
function refusal(body, model)
  local good, told = pcall(check, body, model)
  if good then return nil end
  if type(told) ~= "table" then error(told, 0) end
  return told.sentence
end

local LARGE_BYTES = 4194304

local function refused(handle, status, sentence)
  -- The listener's local_reply_config knows the sentence by this header, and makes {"error": sentence} of it.
  handle:headers():replace("x-kaon-refused", "1")
  handle:respond({ [":status"] = status }, sentence)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get("inference-header-content-length") then
    local told = "The header Inference-Header-Content-Length is not supported by this model. "
    return refused(handle, "400", told .. "Send the data as JSON in inputs.")
  end
  local encoding = headers:get("content-encoding")
  if encoding and encoding ~= "" and encoding:lower() ~= "identity" then
    local told = "The header Content-Encoding is '%s', expected none. Send the body as it is."
    return refused(handle, "415", format(told, sub(encoding, 1, SHOWN_CHARACTERS)))
  end
  -- TorchServe takes a parameter of the query string for the body.
  local path = headers:get(":path")
  local query = find(path, "?", 1, true)
  if query then headers:replace(":path", sub(path, 1, query - 1)) end
  local buffer = handle:body()
  local size = buffer and buffer:length() or 0
  local sentence = refusal(size > 0 and buffer:getBytes(0, size) or "", handle:filterContext():get("model"))
  -- Lua would keep the copy of a large body until as much was allocated again.
  if size > LARGE_BYTES then collectgarbage() end
  if sentence then refused(handle, "400", sentence) end
end
