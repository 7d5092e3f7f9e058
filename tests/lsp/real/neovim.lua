-- Does in Neovim, 0.7 or newer, what the steps in $TAPEFIX_STEPS say: see driver.py.
local function fail(message)
  io.stderr:write(message .. "\n" .. vim.fn.execute("messages") .. "\n")
  vim.cmd("cquit 1")
end

local function wait_for(what, condition)
  if not vim.wait(60000, condition, 20) then
    local text = table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\n")
    fail("waited in vain for " .. what .. ": " .. vim.inspect(vim.diagnostic.get(0)) .. "; the text is\n" .. text)
  end
end

local do_step = {
  open = function(path)
    vim.cmd("edit " .. path)
    wait_for("diagnostics", function()
      return #vim.diagnostic.get(0) > 0
    end)
  end,
  show = function(path)
    vim.cmd("buffer " .. path)
  end,
  take = function(line, title)
    local chosen, offered = nil, {}
    vim.ui.select = function(items, options, on_choice)
      for _, item in ipairs(items) do
        local text = options.format_item(item)
        table.insert(offered, text)
        if text:find(title, 1, true) then
          chosen = item
          return on_choice(item)
        end
      end
      on_choice(nil)
      fail("not offered: " .. title .. " among " .. table.concat(offered, "; "))
    end
    vim.api.nvim_win_set_cursor(0, { line, 0 })
    vim.lsp.buf.code_action()
    wait_for("code actions", function()
      return chosen ~= nil
    end)
  end,
  type = function(text)
    vim.api.nvim_buf_set_lines(0, 0, 0, false, { text })
  end,
  await = function(text)
    wait_for(text, function()
      return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\n"):find(text, 1, true) ~= nil
    end)
  end,
  clean = function()
    wait_for("no diagnostics", function()
      return #vim.diagnostic.get(0) == 0
    end)
  end,
  pause = function(seconds)
    vim.wait(seconds * 1000)
  end,
  save = function()
    vim.cmd("write")
  end,
}

vim.o.swapfile = false
vim.o.hidden = true
vim.cmd("filetype on")
dofile(vim.env.TAPEFIX_SETUP)
local ok, problem = pcall(function()
  for _, step in ipairs(vim.fn.json_decode(vim.env.TAPEFIX_STEPS)) do
    local name = table.remove(step, 1)
    do_step[name]((table.unpack or unpack)(step))
  end
end)
if not ok then
  fail(problem)
end
vim.cmd("qall!")
