! vario.h for Fortran: compile this file with the program's. Arguments, units and what comes back are
! documented there. vario_create takes the communicator as mpi (or mpi_f08's comm%MPI_VAL) has it
! and refuses MPI_COMM_NULL and numbers that are no communicator's. An optimizer that was not created
! or was freed is c_null_ptr, which all calls refuse (vario_rounds gives 0, vario_item -1, vario_steps
! 0, the others VARIO_INPUT) but vario_free.
! Shapes are written as C stores them, the last index varying fastest: real(c_float) :: w(20, 2) has
! the shape [2, 20].
module vario
  use, intrinsic :: iso_c_binding
  implicit none
  public

  enum, bind(c)
    enumerator :: VARIO_OK = 0, VARIO_INPUT, VARIO_IO, VARIO_NOMEM, VARIO_PEER
  end enum
  enum, bind(c)
    enumerator :: VARIO_IVON = 0, VARIO_ADAMW
  end enum
  enum, bind(c)
    enumerator :: VARIO_PRICE = 0, VARIO_GRADSQ
  end enum
  enum, bind(c)
    enumerator :: VARIO_CLIP_MICROBATCH = 0, VARIO_CLIP_STEP
  end enum
  enum, bind(c)
    enumerator :: VARIO_SHARD_NONE = 0, VARIO_SHARD_OPTIMIZER, VARIO_SHARD_GRADIENTS
  end enum
  enum, bind(c)
    enumerator :: VARIO_FP32 = 0, VARIO_BF16
  end enum

  type, bind(c) :: vario_tensor
    type(c_ptr) :: name = c_null_ptr ! of a string that ends with c_null_char
    integer(c_int) :: dimensions = 1
    integer(c_size_t) :: shape(8) = 0
    integer(c_int) :: decayed = 0
    integer(c_size_t) :: unit = 0
  end type vario_tensor

  type, bind(c) :: vario_settings
    real(c_double) :: ess, hessian_init, beta1, beta2, weight_decay, clip_norm, clip_update, &
      epsilon
    integer(c_int64_t) :: seed, items
    integer(c_int) :: optimizer, clip_scope, hessian, rescale_lr, debias, shard, wire, nesterov
    integer(c_int64_t) :: reserved(8)
  end type vario_settings

  type, bind(c) :: vario_report
    integer(c_int) :: skipped
    integer(c_int64_t) :: updates
    real(c_double) :: gradient_norm, gradient_clipped, update_clipped
    real(c_double) :: sigma_mean, hessian_min, hessian_mean, hessian_bias
    integer(c_int64_t) :: reserved(4)
  end type vario_report

  interface
    subroutine vario_defaults(settings) bind(c)
      import :: vario_settings
      type(vario_settings), intent(out) :: settings
    end subroutine vario_defaults

    subroutine vario_defaults_adamw(settings) bind(c)
      import :: vario_settings
      type(vario_settings), intent(out) :: settings
    end subroutine vario_defaults_adamw

    integer(c_int) function vario_create(optimizer, comm, tensors, count, weights, settings) &
        bind(c, name="vario_create_fortran")
      import :: c_ptr, c_int, c_size_t, vario_tensor, vario_settings
      type(c_ptr), intent(out) :: optimizer
      integer(c_int), value :: comm
      type(vario_tensor), intent(in) :: tensors(*)
      integer(c_size_t), value :: count
      type(c_ptr), intent(in), optional :: weights(*)
      type(vario_settings), intent(in), optional :: settings
    end function vario_create

    integer(c_int) function vario_create_alone(optimizer, tensors, count, weights, settings) bind(c)
      import :: c_ptr, c_int, c_size_t, vario_tensor, vario_settings
      type(c_ptr), intent(out) :: optimizer
      type(vario_tensor), intent(in) :: tensors(*)
      integer(c_size_t), value :: count
      type(c_ptr), intent(in), optional :: weights(*)
      type(vario_settings), intent(in), optional :: settings
    end function vario_create_alone

    subroutine vario_free(optimizer) bind(c)
      import :: c_ptr
      type(c_ptr), intent(inout) :: optimizer
    end subroutine vario_free

    integer(c_size_t) function vario_rounds(optimizer) bind(c)
      import :: c_ptr, c_size_t
      type(c_ptr), value :: optimizer
    end function vario_rounds

    integer(c_int64_t) function vario_item(optimizer) bind(c)
      import :: c_ptr, c_int64_t
      type(c_ptr), value :: optimizer
    end function vario_item

    integer(c_int64_t) function vario_steps(optimizer) bind(c)
      import :: c_ptr, c_int64_t
      type(c_ptr), value :: optimizer
    end function vario_steps

    integer(c_int) function vario_sample(optimizer, weights) bind(c)
      import :: c_ptr, c_int
      type(c_ptr), value :: optimizer
      type(c_ptr), intent(in) :: weights(*)
    end function vario_sample

    integer(c_int) function vario_accumulate(optimizer, gradients) bind(c)
      import :: c_ptr, c_int
      type(c_ptr), value :: optimizer
      type(c_ptr), intent(in) :: gradients(*)
    end function vario_accumulate

    integer(c_int) function vario_step(optimizer, lr, report) bind(c)
      import :: c_ptr, c_int, c_double, vario_report
      type(c_ptr), value :: optimizer
      real(c_double), value :: lr
      type(vario_report), intent(out), optional :: report
    end function vario_step

    integer(c_int) function vario_mean(optimizer, weights) bind(c)
      import :: c_ptr, c_int
      type(c_ptr), value :: optimizer
      type(c_ptr), intent(in) :: weights(*)
    end function vario_mean

    integer(c_int) function vario_draw(optimizer, sample, weights) bind(c)
      import :: c_ptr, c_int, c_int32_t
      type(c_ptr), value :: optimizer
      integer(c_int32_t), value :: sample
      type(c_ptr), intent(in) :: weights(*)
    end function vario_draw

    integer(c_int) function vario_deviation(optimizer, sigma) bind(c)
      import :: c_ptr, c_int
      type(c_ptr), value :: optimizer
      type(c_ptr), intent(in) :: sigma(*)
    end function vario_deviation

    integer(c_int) function vario_save(optimizer, directory, keep) bind(c)
      import :: c_ptr, c_int, c_char, c_int64_t
      type(c_ptr), value :: optimizer
      character(kind=c_char), intent(in) :: directory(*) ! ends with c_null_char
      integer(c_int64_t), value :: keep
    end function vario_save

    integer(c_int) function vario_load(optimizer, directory) bind(c)
      import :: c_ptr, c_int, c_char
      type(c_ptr), value :: optimizer
      character(kind=c_char), intent(in) :: directory(*)
    end function vario_load

    type(c_ptr) function vario_error_text() bind(c, name="vario_error")
      import :: c_ptr
    end function vario_error_text
  end interface

contains

  ! vario_error of vario.h as a Fortran string.
  function vario_error() result(sentence)
    character(len=:), allocatable :: sentence
    character(kind=c_char), pointer :: text(:)
    integer :: n
    call c_f_pointer(vario_error_text(), text, [1024])
    n = 1
    do while (text(n) /= c_null_char)
      n = n + 1
    end do
    allocate (character(len=n - 1) :: sentence)
    sentence = transfer(text(1:n - 1), sentence)
  end function vario_error

end module vario
