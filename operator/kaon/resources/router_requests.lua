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

-- The number of texts, which may lie flat or each in an array.
local function count_texts(data)
  if data == nil or data.kind ~= "array" then wrong("inputs[0].data", data, "an array of strings") end
  local count = 0
  for i = 1, data.n do
    local item = data[i]
    if item.kind == "array" then
      for j = 1, item.n do
        if item[j].kind ~= "string" then
          wrong(format("inputs[0].data[%d][%d]", i - 1, j - 1), item[j], "a string")
        end
      end
      count = count + item.n
    else
      if item.kind ~= "string" then wrong(format("inputs[0].data[%d]", i - 1), item, "a string") end
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

local function check_input(tensor, max_batch_size)
  if tensor.kind ~= "object" then wrong("inputs[0]", tensor, "an object") end
  local fields = tensor.fields
  if not is(fields.name, "text") then wrong("inputs[0].name", fields.name, "'text'") end
  if not is(fields.datatype, "BYTES") then wrong("inputs[0].datatype", fields.datatype, "'BYTES'") end
  check_parameters("inputs[0].parameters", fields.parameters)
  local count = count_texts(fields.data)
  if count < 1 or count > max_batch_size then
    refuse("inputs[0].data has %d texts, expected 1 to %d in one request.", count, max_batch_size)
  end
  local wanted = format("[%d,1]", count)
  local shape = shape_of(fields.shape)
  if shape ~= wanted then
    refuse("inputs[0].shape is %s, expected %s for %d %s.", shape, wanted, count, count == 1 and "text" or "texts")
  end
end

local function check_outputs(outputs)
  if outputs == nil then return end
  if outputs.kind ~= "array" then wrong("outputs", outputs, "an array") end
  local seen = {}
  for i = 1, outputs.n do
    local where, output = format("outputs[%d]", i - 1), outputs[i]
    if output.kind ~= "object" then wrong(where, output, "an object") end
    local name = is(output.fields.name, "label") and "label"
      or is(output.fields.name, "probabilities") and "probabilities"
    if not name then wrong(where .. ".name", output.fields.name, "'label' or 'probabilities'") end
    if seen[name] then refuse("%s.name is '%s' once more. Ask for each output once.", where, name) end
    seen[name] = true
    check_parameters(where .. ".parameters", output.fields.parameters)
  end
end

local function check(body, max_batch_size)
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
  local inputs = fields.inputs
  if inputs == nil or inputs.kind ~= "array" then wrong("inputs", inputs, "an array of one tensor named 'text'") end
  if inputs.n ~= 1 then refuse("inputs has %d tensors, expected 1, named 'text'.", inputs.n) end
  check_input(inputs[1], max_batch_size)
  check_outputs(fields.outputs)
end

-- nil for a good request, else the sentence that says what is wrong with it.
function refusal(body, max_batch_size)
  local good, told = pcall(check, body, max_batch_size)
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
    return refused(handle, "400", told .. "Send the texts as JSON in inputs[0].data.")
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
  local sentence = refusal(size > 0 and buffer:getBytes(0, size) or "", handle:filterContext():get("maxBatchSize"))
  -- Lua would keep the copy of a large body until as much was allocated again.
  if size > LARGE_BYTES then collectgarbage() end
  if sentence then refused(handle, "400", sentence) end
end
